/** MergePlan: which cells become which rows. Plain data, nothing else. */

/** Format version of plans, in memory and in files. */
export const PLAN_VERSION = 1;

/** Levels of a pin. `absorb`: stays, may take others in. `key`: key as it is. `exact`: key and value as they are. */
export const PIN_LEVEL = { none: 0, absorb: 1, key: 2, exact: 3 } as const;

/** Weights of members: one for all, one for each layer, or one for each layer and KV head. */
export interface Weights {
  readonly scope: "all" | "layer" | "head";
  /** [members] | [layers, members] | [layers, kvHeads, members]; layers with fewer heads are padded to the most. */
  readonly data: Float32Array;
}

/**
 * Asks the executor to solve the values of some rows, so that attention over the rows gives what attention over the
 * cells gave, on a sample of queries: ridge regression per layer and KV head with the kept value as its prior.
 * V' = V + argmin |A_free X - (O - A V)|^2 + sum_r lambda n_r mean-trace(A_free^T A_free) |X_r|^2. A head whose error on
 * held-out queries does not fall keeps its values.
 */
export interface FitRequest {
  readonly method: "ridge";
  /** Relative to the mean diagonal of A^T A; positive, at most 1e3. */
  readonly lambda: number;
  /**
   * n_r: 0 where the value of a row stays, and for heads that a layer lacks; 1 where it is solved for, and up to 255
   * where the ridge holds it so many times as strongly. Free rows of a head are at most a quarter of its fitting query
   * rows. [layers, kvHeads, rows]
   */
  readonly free: Uint8Array;
  /** `QuerySample.hash` of the sample that the fit is made on. */
  readonly queries: string;
  /** Positions after the context over which queries are spread. */
  readonly horizon: number;
  /** Query rows used for each KV head. */
  readonly maxRows: number;
  /** Every n-th query row judges the fit and takes no part in it; at least 2. */
  readonly holdout: number;
}

/** Values that were computed already: what a fit request becomes when it is materialised. */
export interface DenseValues {
  /** 1 where the value of a row is given here; 0 for heads that a layer lacks. [layers, kvHeads, rows] */
  readonly given: Uint8Array;
  /** Values of the given rows, in the order of `given`, Hadamard rotation undone. [given rows, valueDim] each */
  readonly data: Float32Array;
}

/** What both layouts share. Rows are the new cells, cells are the old ones (in view order). */
export interface PlanBase {
  readonly version: typeof PLAN_VERSION;
  /** Cells of the cache that the plan was made for. */
  readonly cells: number;
  readonly rows: number;
  /** New positions, non-decreasing; the last is the largest, decoding goes on at last + 1. [rows] */
  readonly positions: Int32Array;
  /** Tokens inside each row. [rows] */
  readonly counts: Uint32Array;
  /** Tokens that no row contains. `sum(counts) + dropped` = tokens of the cache. */
  readonly dropped: number;
  /** Additive logit bias of each row, null when all are zero. [rows] */
  readonly bias: Float32Array | null;
  /** Pin level of each old cell (`PIN_LEVEL`), null when nothing is pinned. [cells] */
  readonly pins: Uint8Array | null;
  /** Values to solve for, or null. Rows with a free value count as merged for their value, not for their key. */
  readonly fit: FitRequest | null;
  /** Values that are given, or null. A plan has at most one of `fit` and `values`. */
  readonly values: DenseValues | null;
}

/**
 * The same members in all layers and heads, in CSR form. Row i is the weighted sum of the cells
 * `members[offsets[i]] .. members[offsets[i + 1] - 1]`.
 *
 *     cells  a b c d e      offsets 0 1 3 4 5
 *     rows   a [bc] d e     members 0 1 2 3 4
 *
 * A row with one member of weight 1 in every scope, whose key needs no rotation, is an identity row: its raw bytes are
 * copied.
 */
export interface SharedPlan extends PlanBase {
  readonly layout: "shared";
  /** [rows + 1] */
  readonly offsets: Uint32Array;
  /** Old cells; each at most once. [members] */
  readonly members: Uint32Array;
  readonly keyWeights: Weights;
  readonly valueWeights: Weights;
  /**
   * `stored`: keys are combined as they lie. `target`: each member is first rotated from its own source position to the
   * row's position, and lives there afterwards.
   */
  readonly keyFrame: "stored" | "target";
}

/**
 * One source cell for every (layer, KV head, row); its bytes are copied. Different heads may keep different tokens.
 * Keys stay as rotated as they were (frame `stored`); the source map remembers where they came from.
 */
export interface CompositePlan extends PlanBase {
  readonly layout: "composite";
  readonly layers: number;
  /** The largest number of KV heads of any layer. Entries of heads that a layer lacks repeat its head 0. */
  readonly kvHeads: number;
  /** Old cells, distinct within a head. [layers, kvHeads, rows] */
  readonly members: Uint32Array;
}

export type MergePlan = SharedPlan | CompositePlan;
