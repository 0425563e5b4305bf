/** Sums trials up into the rows that people and programs read. */
import { median } from "./measure.js";
import type { PasskeyRun, PasskeyTrial } from "./tasks/passkey.js";

/** One row of `kvfold passkey`. The names are a contract with readers of its JSON. */
export interface PasskeyRow {
  /** The expression that makes the strategy. */
  readonly strategy: string;
  /** Ratio that was asked for. */
  readonly ratio: number;
  /** Cells of the prompt without its question; the median over the trials, as all numbers below. */
  readonly cellsBefore: number;
  readonly cellsAfter: number;
  readonly bytesFreed: number;
  /** Right answers of the full cache. */
  readonly full: number;
  /** Right answers after the fold. */
  readonly folded: number;
  /** Milliseconds to look at the cache and to plan. */
  readonly planMs: number;
  /** Milliseconds to check the plan and to apply it. */
  readonly foldMs: number;
  /** Tokens per second with the full cache. */
  readonly decodeBefore: number;
  /** Tokens per second after the fold. */
  readonly decodeAfter: number;
  /** What the folds had to say, once. */
  readonly notes: readonly string[];
  /** The keys that the fold lost: the full cache answered right, the folded one did not. */
  readonly lost: readonly { readonly depth: number; readonly key: string; readonly answer: string }[];
}

/** One row for each run, in their order. */
export function passkeyRows(runs: readonly PasskeyRun[], trials: readonly PasskeyTrial[]): PasskeyRow[] {
  return runs.map((run, index) => {
    const folded = trials.map((trial) => trial.folded[index]!);
    const middle = (values: readonly number[], digits: number): number => round(median(values), digits);
    return {
      strategy: run.strategy.expression,
      ratio: run.ratio,
      cellsBefore: middle(
        folded.map((one) => one.cellsBefore),
        0,
      ),
      cellsAfter: middle(
        folded.map((one) => one.cellsAfter),
        0,
      ),
      bytesFreed: middle(
        folded.map((one) => one.bytesFreed),
        0,
      ),
      full: trials.filter((trial) => trial.full.right).length,
      folded: folded.filter((one) => one.right).length,
      planMs: middle(
        folded.map((one) => one.planMs),
        2,
      ),
      foldMs: middle(
        folded.map((one) => one.foldMs),
        2,
      ),
      decodeBefore: middle(
        trials.map((trial) => trial.full.tokensPerSecond),
        1,
      ),
      decodeAfter: middle(
        folded.map((one) => one.tokensPerSecond),
        1,
      ),
      notes: [...new Set(folded.flatMap((one) => one.note ?? []))],
      lost: trials
        .filter((trial) => trial.full.right && !trial.folded[index]!.right)
        .map((trial) => ({
          depth: round(trial.case.depth, 1),
          key: trial.case.key,
          answer: trial.folded[index]!.text,
        })),
    };
  });
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
