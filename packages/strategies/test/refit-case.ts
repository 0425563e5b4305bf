/** A cache of 14 cells on which every kind of cell that refit keeps can be told by its letter. */
import type { MergePlan, PlanContext } from "@kvfold/core";
import { type RefitOptions, refit } from "../src/index.js";
import { type ByHead, scoredOps, type TinyOptions, tinyContext, tinyView, zeroQueries } from "./tiny.js";

/** Cells a .. n, one layer of two heads. Not free with sinks=1, recent=2: a, m, n. */
//                a  b  c  d  e  f  g  h  i  j  k  l  m  n
export const KEYDIFF: ByHead = [
  [
    [0, 7, 1, 2, 1, 9, 1, 8, 2, 3, 1, 1, 0, 0],
    [0, 1, 7, 1, 2, 8, 1, 2, 1, 9, 3, 1, 0, 0],
  ],
];
export const FRMS: ByHead = [
  [
    [3, 9, 8, 0, 0, 0, 2, 9, 1, 0, 7, 6, 2, 5],
    [3, 8, 9, 0, 0, 0, 7, 6, 1, 9, 0, 0, 2, 5],
  ],
];
/** The token at e is a surprise. */
const tokenLogProbs = Float32Array.from({ length: 14 }, (_, cell) => (cell === 4 ? -9 : -1));
const base = { sinks: 1, recent: 2, neighbours: 0, sharedPins: 0.375, headPins: 0.25 };

/** A plan for 11 of the 14 cells: 3 stay, 3 are pinned in all heads, 2 in each head, 3 are the rest. */
export async function planOf(
  options: Partial<RefitOptions> = {},
  given: Partial<PlanContext> = {},
  cache: Partial<TinyOptions> = {},
): Promise<MergePlan> {
  const queries = zeroQueries(400, [2]);
  const view = await tinyView({ cells: 14, heads: [2], tokenLogProbs, queries, ...cache });
  const context = tinyContext(14, { target: 11, ops: scoredOps(KEYDIFF, FRMS), ...given });
  return refit({ ...base, ...options }).plan(view, context);
}
