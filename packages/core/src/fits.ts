/** How the fits of a fold went, all heads together. */
import type { FitOutcome } from "./executor.js";

/** Relative errors of the attention outputs on held-out queries, over the heads that had values to solve for. */
export interface FitSummary {
  readonly heads: number;
  /** Heads whose fitted values are better than the kept ones, and are in the cache now. */
  readonly accepted: number;
  /** Mean over the heads, with the kept values. */
  readonly before: number;
  /** Mean over the heads, with what is in the cache now. */
  readonly after: number;
}

/** Sums up what an executor reports; null without a fit, or when no head had anything to solve for. */
export function summariseFits(outcomes: readonly FitOutcome[] | null | undefined): FitSummary | null {
  // heads without a free row have no error
  const heads = (outcomes ?? []).filter(({ before }) => !Number.isNaN(before));
  if (heads.length === 0) return null;
  const mean = (which: "before" | "after"): number =>
    heads.reduce((sum, head) => sum + head[which], 0) / heads.length;
  const accepted = heads.filter((head) => head.accepted).length;
  return { heads: heads.length, accepted, before: mean("before"), after: mean("after") };
}
