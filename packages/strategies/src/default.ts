/** What is used when nobody names a strategy, and the registry of all built-ins. */
import { createRegistry, type MergeStrategy, type Registry } from "@kvfold/core";
import { BUILT_INS, refit } from "./_registry.js";

/** The one place that says which strategy is the default, and with which options: its own. */
const DEFAULT_STRATEGY = refit;

/**
 * `refit`: every KV head keeps its own cells, and the values of what stays are solved anew. It needs the signal
 * `queries`, which has to be asked for with the prompt: `sequence.prefill(tokens, { signals: strategy.signals })`.
 */
export function defaultStrategy(): MergeStrategy {
  return DEFAULT_STRATEGY();
}

/** A new registry with every built-in strategy, wrapper and scorer; more can be added to it. */
export function createDefaultRegistry(): Registry {
  return createRegistry(BUILT_INS);
}
