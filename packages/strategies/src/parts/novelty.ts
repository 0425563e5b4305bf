/** How new a cell is to any head and to the model: what the pins that all heads share are chosen by. */
import { type CacheView, type PlanContext, throwIfAborted } from "@kvfold/core";
import { createBreather } from "./breathe.js";
import { type HeadScores, largestWithin, ranks } from "./scores.js";

/** Tokens of one name or number lie side by side: a cell is as new as the newest of itself and its two neighbours. */
const NEIGHBOURS = 1;

/**
 * The largest of two ranks in [0, 1], among the free cells: how far a key stands out in the head where it stands out
 * most, and how little the model expected the token; then the largest of three neighbours. Other cells have rank 0.
 *
 *     KeyDiff, head 0    9 1 2 0 0    ranks  1 .5 .75 0 0
 *     KeyDiff, head 1    2 0 8 0 1    ranks  .75 0 1 0 .5    largest  1 .5 1 0 .5    ranked  .75 .25 .75 0 .25
 *     surprise           1 1 1 1 9                                                   ranked  0 0 0 0 1
 *     largest            .75 .25 .75 0 1                                             of three neighbours  .75 .75 .75 1 1
 *
 * The largest rank of any head is ranked again: with many heads most cells come close to 1 in one of them, and the
 * surprise would no longer count.
 *
 * @param surprise -log p of each token, by itself. [cells]
 * @returns [cells]
 */
export async function novelty(
  view: CacheView,
  context: PlanContext,
  free: Uint32Array,
  { keydiff, surprise, who }: { keydiff: HeadScores; surprise: Float32Array; who: string },
): Promise<Float32Array> {
  const standsOut = ranks(await largestRank(view, context, free, keydiff, who), free);
  const unexpected = ranks(surprise, free);
  return largestWithin(
    standsOut.map((rank, cell) => Math.max(rank, unexpected[cell]!)),
    NEIGHBOURS,
  );
}

/**
 * The largest attention that any head paid a cell when the context was read again, and of three neighbours. Attention
 * has the same unit in all heads, so it is compared as it is.
 */
export function mostRepeated(view: CacheView, context: PlanContext, repeat: HeadScores): Float32Array {
  const most = new Float32Array(view.shape.cells);
  for (const [layer, { kvHeads }] of view.shape.layers.entries()) {
    throwIfAborted(context.signal, "repeat");
    for (let head = 0; head < kvHeads; head++) raise(most, repeat(layer, head));
  }
  return largestWithin(most, NEIGHBOURS);
}

// ---------------------------------------------------------------------------------------------------------------

/**
 * Largest rank of each cell in any head; of equal ones, as there are when heads outnumber pins, the cell that ranks
 * higher on average comes first: that adds less than half of the smallest step between two ranks.
 */
async function largestRank(
  { shape }: CacheView,
  context: PlanContext,
  free: Uint32Array,
  scores: HeadScores,
  who: string,
): Promise<Float32Array> {
  const breathe = createBreather(context, who);
  const heads = shape.layers.reduce((sum, { kvHeads }) => sum + kvHeads, 0);
  const most = new Float32Array(shape.cells);
  const tie = new Float64Array(shape.cells);
  for (const [layer, { kvHeads }] of shape.layers.entries()) {
    for (let head = 0; head < kvHeads; head++) {
      await breathe();
      const own = ranks(scores(layer, head), free);
      raise(most, own);
      const share = 2 * heads * free.length;
      for (let i = 0; i < free.length; i++) tie[free[i]!]! += own[free[i]!]! / share;
    }
  }
  return most.map((rank, cell) => rank + tie[cell]!);
}

/** Each entry becomes the larger one of both. */
function raise(most: Float32Array, own: Float32Array): void {
  for (let cell = 0; cell < own.length; cell++) if (own[cell]! > most[cell]!) most[cell] = own[cell]!;
}
