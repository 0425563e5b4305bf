/** Compares strategies on the same windows or trials: paired differences, and how sure they are. */
import { KvfoldError } from "@kvfold/core";
import { type BootstrapOptions, bootstrapMean, type Interval } from "./bootstrap.js";
import { type CellGroup, type EvalCell, groupCells } from "./cells.js";
import { type EvalRow, evalRow } from "./rows.js";

/** A strategy at a ratio beside another one at the same ratio. */
export interface Comparison {
  /** Expression of the other one. */
  readonly baseline: string;
  /** Windows or trials that both have. */
  readonly pairs: number;
  /** Of the score: the strategy less the other one, with a 95 % interval over windows or trials. */
  readonly difference: Interval;
  /** Mean score divided by that of the other one, over the pairs; NaN where that is 0. */
  readonly quotient: number;
}

export interface ComparedRow {
  readonly row: EvalRow;
  /** Mean of the score: KL in nats, fewer is better; or share of right answers, more is better. */
  readonly mean: number;
  /** null: nothing else has a pair at this ratio, or it is the baseline itself. */
  readonly comparison: Comparison | null;
}

/** One table: everything that was measured on the same texts in the same way. */
export interface ComparedGroup {
  readonly group: CellGroup;
  readonly rows: readonly ComparedRow[];
}

export interface CompareOptions extends BootstrapOptions {
  /** Expression to compare with; default: the best other strategy at the same ratio. */
  readonly baseline?: string;
}

/**
 * Tables of finished cells, in the order of the file; rows by ratio, then in the order of the file.
 * @throws KvfoldError KVFOLD_ARGUMENT when the baseline is not among the cells
 */
export function compareCells(cells: readonly EvalCell[], options: CompareOptions = {}): ComparedGroup[] {
  const { baseline } = options;
  if (baseline !== undefined && !cells.some((cell) => cell.strategy === baseline)) {
    const known = [...new Set(cells.map((cell) => cell.strategy))];
    throw new KvfoldError("KVFOLD_ARGUMENT", `no result of ${JSON.stringify(baseline)} is there`, {
      hint: known.length === 0 ? "there are no results yet" : `there are: ${known.join(", ")}`,
    });
  }
  return groupCells(cells).map((group) => ({
    group: group[0]!,
    rows: [...groupCells(group, (cell) => String(cell.ratio))]
      .sort((a, b) => a[0]!.ratio - b[0]!.ratio)
      .flatMap((atRatio) => compareRatio(atRatio, options)),
  }));
}

/** What is compared: the mean KL of a window, or 1 for a right answer. */
export const scoreOf = (cell: EvalCell): number =>
  cell.task === "kl" ? cell.result.meanKl : Number(cell.result.folded);

// ---------------------------------------------------------------------------------------------------------------

type Scores = ReadonlyMap<string, number>;

function compareRatio(cells: readonly EvalCell[], options: CompareOptions): ComparedRow[] {
  const strategies = groupCells(cells, (cell) => cell.strategy).map((own) => ({
    own,
    strategy: own[0]!.strategy,
    scores: new Map(own.map((cell) => [cell.case, scoreOf(cell)])) as Scores,
  }));
  const better = cells[0]!.task === "kl" ? -1 : 1;
  return strategies.map(({ own, strategy, scores }) => {
    const others = strategies
      .filter(
        (other) => other.strategy !== strategy && (options.baseline ?? other.strategy) === other.strategy,
      )
      .filter((other) => [...other.scores.keys()].some((key) => scores.has(key)))
      .sort((a, b) => better * (meanOf(b.scores) - meanOf(a.scores)));
    const [other] = others;
    return {
      row: evalRow(own),
      mean: meanOf(scores),
      comparison: other === undefined ? null : compare(scores, other.scores, other.strategy, options),
    };
  });
}

function compare(own: Scores, other: Scores, baseline: string, options: CompareOptions): Comparison {
  const shared = [...own.keys()].filter((key) => other.has(key));
  const sum = (of: Scores): number => shared.reduce((all, key) => all + of.get(key)!, 0);
  return {
    baseline,
    pairs: shared.length,
    difference: bootstrapMean(
      shared.map((key) => own.get(key)! - other.get(key)!),
      options,
    ),
    quotient: sum(other) === 0 ? Number.NaN : sum(own) / sum(other),
  };
}

function meanOf(scores: Scores): number {
  return [...scores.values()].reduce((sum, score) => sum + score, 0) / scores.size;
}
