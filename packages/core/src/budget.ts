/** How many cells may stay: from a ratio, a number of cells or a number of bytes to the target of a fold. */
import { rowBytes } from "./dtype/dtypes.js";
import { KvfoldError } from "./errors.js";
import { show } from "./options.js";
import type { CacheShape } from "./shape.js";
import type { MergeStrategy } from "./strategy.js";

/** How much to keep: one of the three. */
export type Keep =
  /** Cells before / cells after, at least 1. */
  | { readonly ratio: number }
  /** Cells of the whole cache after the fold. */
  | { readonly cells: number }
  /** Bytes of keys and values of the whole cache after the fold. */
  | { readonly bytes: number };

/** What a budget is reckoned from. */
export interface BudgetBasis {
  /** Cells in use before the fold. */
  readonly cells: number;
  /** Tokens that went in so far, dropped ones included; default: `cells`. */
  readonly tokensSeen?: number;
  /** Cells that may change; default: all. */
  readonly range?: { readonly from: number; readonly to: number };
  /** `new`: the ratio holds for the range. `all` (default): it holds for everything seen so far. */
  readonly scope?: MergeStrategy["scope"];
  /** Bytes of one cell in all layers; needed for a budget in bytes. */
  readonly cellBytes?: number;
}

export interface Budget {
  /** Cells that may stay in the whole cache. */
  readonly target: number;
  /** The ratio asked for, or the one that a number of cells or bytes comes to. */
  readonly ratio: number;
}

/**
 * The target of a fold.
 *
 *     scope new   cells outside the range + ceil(range / ratio)
 *     scope all   ceil(tokens seen / ratio), at most the cells that there are
 *
 * @throws KvfoldError KVFOLD_RATIO, KVFOLD_ARGUMENT, KVFOLD_BUDGET when the cells outside the range are too many
 * @example
 * targetCells({ cells: 4096 }, { ratio: 4 }); // { target: 1024, ratio: 4 }
 */
export function targetCells(basis: BudgetBasis, keep: Keep): Budget {
  const { cells, range = { from: 0, to: cells }, scope = "all" } = basis;
  const tokens = Math.max(basis.tokensSeen ?? cells, cells);
  const inside = range.to - range.from;
  const outside = cells - inside;
  const [kind, amount] = amountOf(keep);
  if (kind === "ratio") {
    checkRatio(amount, tokens);
    const wanted = scope === "new" ? outside + Math.ceil(inside / amount) : Math.ceil(tokens / amount);
    return { target: fitting(wanted, cells, outside), ratio: amount };
  }
  const target = fitting(
    kind === "cells" ? wholeCells(amount) : cellsOfBytes(amount, basis.cellBytes),
    cells,
    outside,
  );
  const ratio = scope === "new" ? inside / Math.max(1, target - outside) : tokens / target;
  return { target, ratio: Math.max(1, ratio) };
}

/**
 * Bytes of keys and values of one cell, in all layers.
 * @throws KvfoldError KVFOLD_ARGUMENT for a layer whose rows are no whole blocks
 */
export function cellBytes(shape: Pick<CacheShape, "layers">): number {
  return shape.layers.reduce((sum, layer) => {
    const keys = rowBytes(layer.keyType, layer.kvHeads * layer.keyDim);
    return sum + keys + rowBytes(layer.valueType, layer.kvHeads * layer.valueDim);
  }, 0);
}

// ---------------------------------------------------------------------------------------------------------------

const WHO = { who: "budget" } as const;

function amountOf(keep: Keep): ["ratio" | "cells" | "bytes", number] {
  const given = Object.entries((keep ?? {}) as object).filter(([, value]) => value !== undefined);
  const [kind, amount] = given[0] ?? [];
  const known = kind === "ratio" || kind === "cells" || kind === "bytes";
  if (given.length === 1 && known && typeof amount === "number") return [kind, amount];
  throw new KvfoldError("KVFOLD_ARGUMENT", `keep is ${show(keep)}`, {
    ...WHO,
    hint: "give one of { ratio }, { cells } and { bytes }, a number",
  });
}

function checkRatio(ratio: number, tokens: number): void {
  if (!(ratio >= 1) || !Number.isFinite(ratio)) {
    throw new KvfoldError("KVFOLD_RATIO", `the ratio is ${ratio}`, {
      ...WHO,
      hint: "it is cells before / cells after: give a finite number of at least 1",
    });
  }
  if (ratio > tokens) {
    throw new KvfoldError("KVFOLD_RATIO", `a ratio of ${ratio} leaves no cell of ${tokens}`, {
      ...WHO,
      hint: `give at most ${tokens}`,
    });
  }
}

function wholeCells(cells: number): number {
  if (Number.isSafeInteger(cells) && cells >= 1) return cells;
  throw new KvfoldError("KVFOLD_ARGUMENT", `keep.cells is ${cells}`, {
    ...WHO,
    hint: "give a whole number of at least 1",
  });
}

function cellsOfBytes(bytes: number, size: number | undefined): number {
  if (size === undefined) {
    throw new KvfoldError("KVFOLD_ARGUMENT", "a budget in bytes needs the bytes of a cell", {
      ...WHO,
      hint: "see cellBytes",
    });
  }
  const cells = Math.floor(bytes / size);
  if (Number.isSafeInteger(cells) && cells >= 1) return cells;
  throw new KvfoldError("KVFOLD_ARGUMENT", `keep.bytes is ${bytes}`, {
    ...WHO,
    hint: `one cell has ${size} bytes, give a finite number of at least that`,
  });
}

function fitting(wanted: number, cells: number, outside: number): number {
  if (wanted >= outside) return Math.min(wanted, cells);
  throw new KvfoldError(
    "KVFOLD_BUDGET",
    `${outside} cells lie outside the range, but only ${wanted} may stay`,
    {
      ...WHO,
      hint: "widen the range or keep more",
    },
  );
}
