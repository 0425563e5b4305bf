/** What a strategy is, and `defineStrategy`, the one door through which all of them are made. */
import type { Logger } from "./log.js";
import type { Ops } from "./ops.js";
import type { MergePlan } from "./plan/plan.js";
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
