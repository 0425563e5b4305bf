/** Executors apply a checked plan to raw cache memory. They are the only code that writes keys and values. */

import type { MergePlan } from "./plan/plan.js";
import type { QuerySample } from "./queries.js";
import type { CacheShape } from "./shape.js";

/**
 * Raw memory of one stream of a cache. Key rows lie one after another, all heads of a cell together; values the same,
 * or transposed (see `ValueLayout`). Cell c of the view lies at physical index `slots[c]`.
 */
export interface MemoryTarget {
  readonly shape: CacheShape;
  /** Physical cells of the buffers, used or not. */
  readonly capacity: number;
  /** Physical index of every view cell, distinct. [cells] */
  readonly slots: Uint32Array;
  /** Per layer: key bytes, `capacity` rows. */
  readonly keys: readonly Uint8Array[];
  /** Per layer: value bytes. */
  readonly values: readonly Uint8Array[];
  /** Positions of the view cells. [cells] */
  readonly positions: Int32Array;
  /** Per layer: source map [kvHeads, cells], or null. */
  readonly sources: readonly (Int32Array | null)[];
  /** Additive logit bias of the view cells, for fits; left out or null when all are zero. [cells] */
  readonly bias?: Float32Array | null;
}

/**
 * A plan that is fully computed but not yet visible. `commit` writes it and keeps an undo log, `rollback` puts every
 * byte back, `dispose` frees log and scratch. Nothing but these three touches the cache.
 */
export interface FoldTransaction {
  /**
   * How the fits of a plan went, for every KV head that a layer has, layer after layer; null without a fit request. A
   * head without a free row has no error: NaN.
   */
  readonly fits: readonly FitOutcome[] | null;
  commit(): Promise<void>;
  rollback(): Promise<void>;
  dispose(): void;
}

/** Relative error of the attention outputs on held-out queries: |A V - O| / |O|. */
export interface FitOutcome {
  readonly layer: number;
  readonly head: number;
  /** With the kept values. */
  readonly before: number;
  /** With the fitted values; equal to `before` where the fit was dropped. */
  readonly after: number;
  readonly accepted: boolean;
}

export interface PrepareOptions {
  /** The sample that a fit request names; without it such a plan is refused. */
  readonly queries?: QuerySample | null;
  /** Physical cells of the rows, ascending, distinct. [rows] */
  readonly destinations: Uint32Array;
  /** Polled while preparing, and only then. */
  readonly signal?: AbortSignal;
}

/**
 * Stored keys turned in place, as self-extend asks: by how many positions each turns. Layers without RoPE stay. Values,
 * positions and source maps are not touched; the owner of the cache keeps those.
 */
export interface KeyShift {
  /** In all layers and heads. [cells] */
  readonly deltas: Int32Array;
  /** Layers with deltas of their own [kvHeads, cells]; null: as `deltas`. [layers] */
  readonly layers?: readonly (Int32Array | null)[] | null;
}

export interface ShiftOptions {
  /** Polled while preparing, and only then. */
  readonly signal?: AbortSignal;
}

/** `Target` is what the executor can reach: `MemoryTarget` here, a native handle elsewhere. */
export interface Executor<Target = MemoryTarget> {
  readonly name: string;
  /** true, or the reason why not as a sentence. */
  supports(shape: CacheShape): true | string;
  /**
   * Computes everything that a fold will write. The target is only read.
   * @throws KvfoldError on a plan that does not fit, on an abort, on memory that cannot be had
   */
  prepare(target: Target, plan: MergePlan, options: PrepareOptions): Promise<FoldTransaction>;
  /**
   * Computes every key that turns. The target is only read; the transaction writes, and takes back.
   * @throws KvfoldError on deltas that do not fit, on an abort, on memory that cannot be had
   */
  prepareShift?(target: Target, shift: KeyShift, options?: ShiftOptions): Promise<FoldTransaction>;
}
