/** The read-only view that a strategy gets of a live cache. */
import type { QuerySample } from "./queries.js";
import type { CacheShape } from "./shape.js";

/** Signals a strategy may ask for beyond positions, tokens, keys and values. */
export type SignalName = "tokens" | "tokenLogProbs" | "queries" | "repeat";

/** The captured signals; absent ones are null. */
export interface Signals {
  /** log p(token | tokens before it), natural log, NaN where unknown. [cells] */
  readonly tokenLogProbs: Float32Array | null;
  /** A bounded sample of the prompt's own queries. */
  readonly queries: QuerySample | null;
  /** What a second reading of the context (KVzip, arXiv 2505.23416) attended to. */
  readonly repeat: RepeatAttention | null;
}

/** The largest attention weight that each cell got while the model read its context a second time. */
export interface RepeatAttention {
  /** By layer of the view: maximum over queries and the heads of the group. [kvHeads, cells] */
  readonly layers: readonly Float32Array[];
}

/**
 * In which frame keys are handed out. `stored`: as attention sees them (Hadamard rotation already undone).
 * `unrotated`: RoPE undone with the true source position of every (head, cell), so that equal content gives equal keys.
 */
export type KeyFrame = "stored" | "unrotated";

/**
 * A consistent, read-only snapshot of one sequence. Cells are ordered by position (ties by their place in memory);
 * every index below is an index into that order. All arrays are owned by the view: never write to them.
 */
export interface CacheView {
  readonly shape: CacheShape;
  /** Grows by one with every change of the cache. */
  readonly generation: number;
  /** What the attention mask compares with the query's position, non-decreasing. [cells] */
  readonly positions: Int32Array;
  /** Tokens inside each cell, at least 1. [cells] */
  readonly counts: Uint32Array;
  /** Additive logit bias of each cell, or null when all are zero. [cells] */
  readonly bias: Float32Array | null;
  /** Token id of each cell, -1 where a cell is merged, composite or unknown; null when no ids are known. [cells] */
  readonly tokens: Int32Array | null;
  readonly signals: Signals;
  /** Text of a token, for pictures; undefined when the engine has no vocabulary. */
  readonly tokenText?: (token: number) => string;

  /**
   * The position with which each stored key was rotated. null: the same as `positions` in all heads.
   * @param layer index into `shape.layers`
   * @returns [kvHeads, cells] or null
   */
  sources(layer: number): Int32Array | null;

  /**
   * Keys of one layer as floats, Hadamard rotation undone.
   * @param layer index into `shape.layers`
   * @returns [kvHeads, cells, keyDim]
   * @throws KvfoldError KVFOLD_VIEW_STALE when the cache has changed since
   */
  keys(layer: number, frame: KeyFrame): Promise<Float32Array>;

  /**
   * Values of one layer as floats, Hadamard rotation undone.
   * @param layer index into `shape.layers`
   * @returns [kvHeads, cells, valueDim]
   * @throws KvfoldError KVFOLD_VIEW_STALE when the cache has changed since
   */
  values(layer: number): Promise<Float32Array>;
}
