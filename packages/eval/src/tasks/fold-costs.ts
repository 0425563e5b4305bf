/** What folds cost and freed, summed over all folds of one prompt. */
import type { FitSummary, FoldReport } from "@kvfold/core";

export interface FoldCosts {
  readonly bytesFreed: number;
  /** Looking at the cache and planning; the sum of all folds of the prompt. */
  readonly planMs: number;
  /** Checking and applying; the sum of all folds of the prompt. */
  readonly foldMs: number;
  /** How the fits of the last fold went; null when nothing was fitted. */
  readonly fits: FitSummary | null;
  /** What the last fold had to say: that pins kept more cells than asked for. */
  readonly note: string | null;
}

export function foldCosts(reports: readonly FoldReport[]): FoldCosts {
  const sum = (of: (report: FoldReport) => number): number => reports.reduce((all, one) => all + of(one), 0);
  return {
    planMs: sum(({ timings }) => timings.view + timings.plan),
    foldMs: sum(({ timings }) => timings.check + timings.apply),
    bytesFreed: sum((report) => report.bytesFreed),
    fits: reports.at(-1)?.fits ?? null,
    note: reports.at(-1)?.note ?? null,
  };
}
