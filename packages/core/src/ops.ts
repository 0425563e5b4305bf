/** Operations on a view that are too heavy for a strategy to do by hand; run by the best executor there is. */
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

/** The operations that a strategy may call. All are pure: they never change the cache. */
export interface Ops {
  /** @param layer index into `view.shape.layers` */
  keyStats(view: CacheView, layer: number, options?: { readonly signal?: AbortSignal }): Promise<KeyStats>;
}
