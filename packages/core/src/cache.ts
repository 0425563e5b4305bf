/** A cache that can be viewed and folded: one sequence of a live engine, or typed arrays in memory. */
import type { FitOutcome } from "./executor.js";
import type { Ops } from "./ops.js";
import type { MergePlan } from "./plan/plan.js";
import type { CacheShape } from "./shape.js";
import type { CacheView } from "./view.js";

/** A view that holds the cache still: decoding is refused until it is released. */
export interface CacheLease extends CacheView {
  release(): void;
}

export interface ApplyReport {
  /** Bytes of keys and values that the freed cells occupied. */
  readonly bytesFreed: number;
  /** How the fits of the plan went (`FoldTransaction.fits`); null or left out without a fit. */
  readonly fits?: readonly FitOutcome[] | null;
}

/** Implemented by engines. */
export interface KvCache {
  readonly name: string;
  readonly ops: Ops;
  readonly shape: CacheShape;
  /** Tokens that went in so far, folded and dropped ones included. */
  readonly tokensSeen: number;
  /**
   * @throws KvfoldError KVFOLD_CACHE_BUSY while another lease or a decode is in progress, KVFOLD_CACHE_EMPTY without cells
   */
  lease(): Promise<CacheLease>;
  /**
   * Applies a plan made from that lease: all of it, or nothing. On any failure or abort every byte, the cell map and
   * the bias are as before.
   */
  apply(
    lease: CacheLease,
    plan: MergePlan,
    options?: { readonly signal?: AbortSignal },
  ): Promise<ApplyReport>;
}
