/** What is used when nobody names a strategy, and the registry of all built-ins. */
import { createRegistry, type MergeStrategy, type Registry } from "@kvfold/core";
import { BUILT_INS, evict } from "./_registry.js";

/** The one place that says which strategy is the default, and with which options: its own. */
const DEFAULT_STRATEGY = evict;

/** `evict(by=keydiff,per=head)`: every KV head keeps its own cells, with 4 sinks and the newest 128. */
export function defaultStrategy(): MergeStrategy {
  return DEFAULT_STRATEGY();
}

/** A new registry with every built-in strategy, wrapper and scorer; more can be added to it. */
export function createDefaultRegistry(): Registry {
  return createRegistry(BUILT_INS);
}
