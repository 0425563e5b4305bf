/** Operations on a view that are too heavy for a strategy to do by hand; run by the best executor there is. */
import type { QuerySample } from "./queries.js";
import type { CacheView } from "./view.js";

/** Statistics of the keys of one layer. All arrays are [kvHeads, cells]. */
export interface KeyStats {
  /** Euclidean norm of each key (no frame changes it). */
  readonly norm: Float32Array;
  /**
   * Cosine between each de-rotated key and the mean of the head's unit keys. KeyDiff (arXiv 2504.15364) keeps the
   * cells where it is smallest.
   */
  readonly meanCosine: Float32Array;
}

/** What future queries pay to each cell of one layer. All arrays are [kvHeads, cells]. */
export interface AttendStats {
  /** Over sampled queries and the query heads of the group: largest, mean, root mean square of the softmax weight. */
  readonly maximum: Float32Array;
  readonly mean: Float32Array;
  readonly rms: Float32Array;
}

export interface AttendOptions {
  /** Asked instead of the queries of the view, for example some of them. */
  readonly queries?: QuerySample;
  /** Positions after the context over which queries are spread; default 512. */
  readonly horizon?: number;
  /** Query rows for each KV head (samples x heads of the group); the first ones are used. Default: all. */
  readonly maxRows?: number;
  /**
   * So many of these rows will be fitted on (`FitRequest.maxRows`), so an engine may keep their attention outputs in
   * place of computing them again. Default: none.
   */
  readonly fitRows?: number;
  readonly signal?: AbortSignal;
}

/** The operations that a strategy may call. All are pure: they never change the cache. */
export interface Ops {
  /** @param layer index into `view.shape.layers` */
  keyStats(view: CacheView, layer: number, options?: { readonly signal?: AbortSignal }): Promise<KeyStats>;
  /**
   * Softmax attention over all cells, not causal, of the sampled queries turned to future positions.
   * @throws KvfoldError KVFOLD_SIGNAL_MISSING without the signal `queries`
   */
  attend(view: CacheView, layer: number, options?: AttendOptions): Promise<AttendStats>;
}
