/** What a strategy is, and `defineStrategy`, the one door through which all of them are made. */
import type { Logger } from "./log.js";
import type { Ops } from "./ops.js";
import { readOptions } from "./options.js";
import type { MergePlan } from "./plan/plan.js";
import {
  type CommonDefinition,
  type Dependencies,
  describePlugin,
  optionsOf,
  type PluginInfo,
  union,
  withDefaults,
} from "./plugin.js";
import type { CacheShape } from "./shape.js";
import type { CacheView, SignalName } from "./view.js";

export type Maybe<T> = T | Promise<T>;

/** What a strategy is told for one plan. */
export interface PlanContext {
  /** Cells that may stay in the whole cache, pins and everything outside `range` included. */
  readonly target: number;
  /** Ratio that the caller asked for; merging strategies use it as their factor. */
  readonly ratio: number;
  /** Only the cells `from <= i < to` may change; the others are kept as they are. */
  readonly range: { readonly from: number; readonly to: number };
  /** Pin level of each cell (`PIN_LEVEL`), set by the `pin` wrapper; null when nothing is pinned. [cells] */
  readonly pins: Uint8Array | null;
  /** A seeded generator of numbers in [0, 1); the same seed gives the same plan bytes. */
  readonly random: () => number;
  readonly ops: Ops;
  readonly signal: AbortSignal;
  readonly log: Logger;
}

/** Reads a view, returns a plan. Never writes. */
export interface MergeStrategy {
  readonly name: string;
  /** The expression that makes this strategy again, options included: `evict(by=keydiff,per=head)`. */
  readonly expression: string;
  /** Signals that the engine has to capture during the prefill. */
  readonly signals: readonly SignalName[];
  /**
   * What a scheduled fold hands it: `new` cells since the last fold (merging by position), or `all` of the cache
   * (selection against a growing budget).
   */
  readonly scope: "new" | "all";
  /** true, or the reason why not as a sentence. */
  appliesTo(shape: CacheShape): true | string;
  plan(view: CacheView, context: PlanContext): Maybe<MergePlan>;
}

/** What `create` gives back; what is left out comes from the definition. */
export interface StrategyParts {
  plan(view: CacheView, context: PlanContext): Maybe<MergePlan>;
  /** Default: every cache. */
  appliesTo?(shape: CacheShape): true | string;
  /** Signals that these options need, besides those of the definition. */
  readonly signals?: readonly SignalName[];
}

export interface StrategyDefinition<O extends object> extends CommonDefinition<O> {
  /** Default: `all`. */
  readonly scope?: MergeStrategy["scope"];
  /** Called once for each strategy made; `options` are checked and complete. */
  create(options: O, dependencies: Dependencies): StrategyParts;
}

/** A definition whose options are no longer known by type: what a registry holds. */
export interface StrategyPlugin {
  readonly definition: PluginInfo;
  /** @throws KvfoldError KVFOLD_UNKNOWN_OPTION, KVFOLD_ARGUMENT, and what the plug-in itself throws */
  make(options?: Readonly<Record<string, unknown>>, dependencies?: Partial<Dependencies>): MergeStrategy;
}

/** Makes strategies, and carries the definition that it was made from. */
export interface StrategyFactory<O extends object> extends StrategyPlugin {
  (options?: Partial<O>, dependencies?: Partial<Dependencies>): MergeStrategy;
}

/**
 * Defines a strategy: the one door for built-in and foreign ones.
 *
 * @example
 * export const keepAll = defineStrategy({
 *   name: "keep-all", summary: "Keeps every cell.", create: () => ({ plan: (view) => identityPlan(view) }),
 * });
 * keepAll().expression; // "keep-all"
 */
export function defineStrategy<O extends object = Record<never, never>>(
  definition: StrategyDefinition<O>,
): StrategyFactory<O> {
  const info = describePlugin("strategy", definition);
  const make = (given?: object, dependencies?: Partial<Dependencies>): MergeStrategy => {
    const { options, printed } = readOptions(info.name, optionsOf(definition), given, info.positional);
    const parts = definition.create(options, withDefaults(dependencies));
    return Object.freeze({
      name: info.name,
      expression: printed === "" ? info.name : `${info.name}(${printed})`,
      signals: union(info.signals, parts.signals ?? []),
      scope: definition.scope ?? "all",
      appliesTo: (shape: CacheShape) => parts.appliesTo?.(shape) ?? true,
      plan: (view: CacheView, context: PlanContext) => parts.plan(view, context),
    });
  };
  return Object.assign(
    (options?: Partial<O>, dependencies?: Partial<Dependencies>) => make(options, dependencies),
    {
      definition: info,
      make,
    },
  );
}

/** True for anything with the members of a strategy, whichever copy of this package made it. */
export function isStrategy(value: unknown): value is MergeStrategy {
  const strategy = value as Partial<MergeStrategy> | null | undefined;
  if (typeof strategy !== "object" || strategy === null) return false;
  const named = typeof strategy.name === "string" && typeof strategy.expression === "string";
  const declared = Array.isArray(strategy.signals) && (strategy.scope === "new" || strategy.scope === "all");
  return named && declared && typeof strategy.appliesTo === "function" && typeof strategy.plan === "function";
}
