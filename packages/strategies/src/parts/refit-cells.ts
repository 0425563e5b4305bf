/** Which cells `refit` keeps: pins of all heads, pins of each head, and what each head attends to. */
import type { CacheView, PlanContext } from "@kvfold/core";
import { createBreather } from "./breathe.js";
import { common, union, without } from "./cells.js";
import type { PinShares } from "./refit-options.js";
import { bestCells, type HeadScores } from "./scores.js";

const NONE = new Uint32Array(0);

/** Room and scores that a selection is made from. */
export interface CellScores {
  /** What all heads pin by, or null for no such pins. [cells] */
  readonly shared: Float32Array | null;
  /** What each head pins by, or null for no such pins. */
  readonly head: HeadScores | null;
  /** What the rest is chosen by. */
  readonly worth: HeadScores;
}

/** How many cells of each kind. */
export interface CellCounts {
  readonly shared: number;
  readonly head: number;
  readonly rest: number;
}

/** Cells by layer and KV head, each in rising order. */
export type CellsByHead = readonly (readonly Uint32Array[])[];

export interface CellChoice {
  /** Pinned in all heads, in rising order. */
  readonly shared: Uint32Array;
  /** Cells that compete still, in rising order. */
  readonly free: Uint32Array;
  /** What each head attends to, and its pins. */
  readonly chosen: CellsByHead;
  /** Of these, what stands out in its head: its pins, and what would be one if no query attended to it. */
  readonly standing: CellsByHead;
}

/** Shares of `room` rounded down; the rest gets what is left. */
export function splitRoom(room: number, shares: PinShares): CellCounts {
  const shared = Math.floor(shares.shared * room);
  const head = Math.min(Math.floor(shares.head * room), room - shared);
  return { shared, head, rest: room - shared - head };
}

/**
 * Chooses cell by cell what is worth most: first for all heads, then what each head attends to, then its pins among
 * those that are left. In this order no pin is spent on a cell that stays anyway.
 *
 *     free cells   b c d e f g h      1 shared pin, 1 pin and 1 other of each head
 *     all heads    d
 *     head 0       d   b   f          chosen: b f; f stands out most of all, b does not
 *     head 1       d   g   c          chosen: c g; g stands out most, c is pinned: both are standing
 *
 * @param free in rising order
 */
export async function chooseCells(
  view: CacheView,
  context: PlanContext,
  free: Uint32Array,
  { counts, scores, who }: { counts: CellCounts; scores: CellScores; who: string },
): Promise<CellChoice> {
  const breathe = createBreather(context, who);
  const shared = scores.shared === null ? NONE : bestCells(scores.shared, free, counts.shared);
  const others = without(free, shared);
  const chosen: Uint32Array[][] = [];
  const standing: Uint32Array[][] = [];
  for (const [layer, { kvHeads }] of view.shape.layers.entries()) {
    chosen.push([]);
    standing.push([]);
    for (let head = 0; head < kvHeads; head++) {
      await breathe();
      const best = bestCells(scores.worth(layer, head), others, counts.rest);
      const outstanding = (among: Uint32Array): Uint32Array =>
        scores.head === null ? NONE : bestCells(scores.head(layer, head), among, counts.head);
      const pins = outstanding(without(others, best));
      const attended = common(best, outstanding(others));
      chosen[layer]!.push(union(pins, best));
      standing[layer]!.push(union(pins, attended));
    }
  }
  return { shared, free: others, chosen, standing };
}
