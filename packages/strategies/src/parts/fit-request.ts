/** The fit of a composite plan: which rows of which head are solved for. */
import { type CacheShape, type FitRequest, mostKvHeads } from "@kvfold/core";
import { union, without } from "./cells.js";
import type { CellsByHead } from "./refit-cells.js";
import { bestCells, type HeadScores } from "./scores.js";

/** A fit has four fitting query rows for each row that it solves for, so that it is never underdetermined. */
const ROWS_FOR_EACH_FREE = 4;

/** What decides about the free rows. */
export interface FreeRows {
  /** Members of the plan. [layers, kvHeads, rows] */
  readonly members: Uint32Array;
  /** Cells of all heads whose values may change, in rising order. */
  readonly everywhere: Uint32Array;
  /** Cells of each head whose values may change. */
  readonly own: CellsByHead;
  /** Of these, cells that the ridge holds `stiffness` times as strongly; 0: whose values stay. */
  readonly stiff: CellsByHead;
  readonly stiffness: number;
  /** Of too many cells those that are worth most are solved for. */
  readonly worth: HeadScores;
  /** Query rows of each KV head, by layer. */
  readonly queryRows: readonly number[];
  readonly holdout: number;
}

/**
 * The mask of a fit request: the ridge factor where a row holds a cell whose value may change, at most a quarter as many
 * in each head as query rows that fit.
 * @returns [layers, kvHeads, rows], or null where no row is free
 */
export function freeRows(shape: CacheShape, given: FreeRows): FitRequest["free"] | null {
  const { members, everywhere, own, stiff, stiffness, worth, queryRows, holdout } = given;
  const kvHeads = mostKvHeads(shape);
  const rows = members.length / (shape.layers.length * kvHeads);
  const free = new Uint8Array(members.length);
  for (const [layer, heads] of own.entries()) {
    const most = mostFree(queryRows[layer]!, holdout);
    for (const [head, cells] of heads.entries()) {
      const held = stiff[layer]![head]!;
      const candidates = union(everywhere, stiffness === 0 ? without(cells, held) : cells);
      const solved = new Uint8Array(shape.cells);
      for (const cell of bestCells(worth(layer, head), candidates, most)) solved[cell] = 1;
      for (const cell of held) if (solved[cell] === 1) solved[cell] = stiffness;
      const start = (layer * kvHeads + head) * rows;
      for (let row = 0; row < rows; row++) free[start + row] = solved[members[start + row]!]!;
    }
  }
  return free.some((factor) => factor !== 0) ? free : null;
}

/**
 * The smallest number from `holdout` on that has no common divisor with any group of query heads. Rows of the heads of a
 * group take turns, so with a common divisor the same heads would judge every fit, and the others never.
 *
 *     group of 5, every 5th row   h0 h1 h2 h3 [h4] h0 h1 h2 h3 [h4]    every 6th   h0 h1 h2 h3 h4 [h0] h1 ..
 */
export function fairHoldout(holdout: number, groups: readonly number[]): number {
  let fair = holdout;
  while (groups.some((group) => commonDivisor(fair, group) > 1)) fair++;
  return fair;
}

// ---------------------------------------------------------------------------------------------------------------

/** None where no row would judge. */
const mostFree = (rows: number, holdout: number): number => {
  const judging = Math.floor(rows / holdout);
  return judging === 0 ? 0 : Math.floor((rows - judging) / ROWS_FOR_EACH_FREE);
};

const commonDivisor = (a: number, b: number): number => (b === 0 ? a : commonDivisor(b, a % b));
