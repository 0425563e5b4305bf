/** Sums finished cells up into the rows that other programs read. The names are a contract. */
import { type EvalCell, type KlCell, type PasskeyCell, rowId } from "./cells.js";
import { quantile } from "./measure.js";

interface Row {
  readonly command: "eval";
  /** The model as it was named. */
  readonly model: string;
  /** The expression that makes the strategy. */
  readonly strategy: string;
  /** Ratio that was asked for. */
  readonly ratio: number;
  readonly seed: number | null;
  readonly cacheType: string | null;
  /** Hash of the cells that it sums up. */
  readonly id: string;
}

/** One row of `kvfold eval kl`. */
export interface KlRow extends Row {
  readonly task: "kl";
  /** Tokens of the context that was folded. */
  readonly tokens: number;
  readonly windows: number;
  /** KL(full || folded) in nats, over the tokens of all windows. */
  readonly kl: {
    readonly mean: number;
    readonly p50: number;
    readonly p95: number;
    readonly p99: number;
  };
  /** Share of the tokens after which both expect the same token most. */
  readonly top1: number;
  /** Mean negative log-likelihood after the fold, less that of the full cache, in nats. */
  readonly deltaNll: number;
  /** The text, and the tokens that were compared after each context. */
  readonly text: string | number | null;
  readonly window: string | number | null;
}

/** One row of `kvfold eval passkey`. */
export interface PasskeyGridRow extends Row {
  readonly task: "passkey";
  /** Most tokens of the whole prompt. */
  readonly tokens: number;
  readonly key: string | number | null;
  readonly haystack: string | number | null;
  readonly trials: number;
  /** Right answers of the full cache. */
  readonly full: number;
  /** Right answers after the fold. */
  readonly folded: number;
  /** Of those that the full cache knew. */
  readonly lost: number;
  readonly foldEvery: number | null;
}

export type EvalRow = KlRow | PasskeyGridRow;

/** @param cells of one strategy at one ratio, at least one */
export function evalRow(cells: readonly EvalCell[]): EvalRow {
  return cells[0]!.task === "kl" ? klRow(cells as KlCell[]) : passkeyRow(cells as PasskeyCell[]);
}

export function klRow(cells: readonly KlCell[]): KlRow {
  const [first] = cells;
  const all = Float64Array.from(cells.flatMap((cell) => cell.result.kl)).sort();
  // windows of one group have the same length
  const mean = (of: (cell: KlCell) => number): number =>
    round(cells.reduce((sum, cell) => sum + of(cell), 0) / cells.length);
  return {
    command: "eval",
    task: "kl",
    ...named(first!),
    windows: cells.length,
    kl: {
      mean: mean((cell) => cell.result.meanKl),
      p50: round(quantile(all, 0.5)),
      p95: round(quantile(all, 0.95)),
      p99: round(quantile(all, 0.99)),
    },
    top1: mean((cell) => cell.result.top1),
    deltaNll: mean((cell) => cell.result.foldedNll - cell.result.fullNll),
    text: first!.labels.text ?? null,
    window: first!.labels.window ?? null,
    ...origin(cells),
  };
}

export function passkeyRow(cells: readonly PasskeyCell[]): PasskeyGridRow {
  const [first] = cells;
  const count = (of: (cell: PasskeyCell) => boolean): number => cells.filter(of).length;
  return {
    command: "eval",
    task: "passkey",
    ...named(first!),
    key: first!.labels.key ?? null,
    haystack: first!.labels.haystack ?? null,
    trials: cells.length,
    full: count((cell) => cell.result.full),
    folded: count((cell) => cell.result.folded),
    lost: count((cell) => cell.result.full && !cell.result.folded),
    foldEvery: numberOrNull(first!.conditions.foldEvery),
    ...origin(cells),
  };
}

// ---------------------------------------------------------------------------------------------------------------

const named = ({ model, strategy, ratio, tokens }: EvalCell) => ({ model, strategy, ratio, tokens });

function origin(cells: readonly EvalCell[]): Pick<Row, "seed" | "cacheType" | "id"> {
  const { seed, cacheType } = cells[0]!.conditions;
  return {
    seed: numberOrNull(seed),
    cacheType: typeof cacheType === "string" ? cacheType : null,
    id: rowId(cells),
  };
}

const numberOrNull = (value: unknown): number | null => (typeof value === "number" ? value : null);

/** Six digits: more than any sample of this size says. */
const round = (value: number): number => Number(value.toPrecision(6));
