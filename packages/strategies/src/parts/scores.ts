/** Scores of any scope as one row of numbers for each layer and KV head; ranks; the best of many. */
import { type CacheShape, KvfoldError, type Scorer, type Scores } from "@kvfold/core";

/** Scores of one layer and KV head. [cells] */
export type HeadScores = (layer: number, head: number) => Float32Array;

/**
 * Checks what a scorer gave, and hands it out by head. NaN becomes the lowest score.
 * @throws KvfoldError KVFOLD_STRATEGY when arrays do not fit the cache
 */
export function scoresByHead(scorer: Scorer, scores: Scores, shape: CacheShape): HeadScores {
  const { cells, layers } = shape;
  if (scores.scope === "shared") {
    needLength(scorer, scores.data, cells, "scores");
    const data = withoutNaN(scores.data);
    return () => data;
  }
  if (!Array.isArray(scores.layers) || scores.layers.length !== layers.length) {
    throw badScores(scorer, `gave no scores for each of ${layers.length} layers`);
  }
  const clean = layers.map((layer, index) => {
    needLength(scorer, scores.layers[index], layer.kvHeads * cells, `scores of layer ${index}`);
    return withoutNaN(scores.layers[index]!);
  });
  return (layer, head) => clean[layer]!.subarray(head * cells, (head + 1) * cells);
}

/**
 * Every cell gets the largest score within `distance` cells on both sides.
 *
 *     scores 0 0 7 0 0 0 1    distance 1   ->   0 7 7 7 0 1 1
 */
export function pooled(scores: HeadScores, distance: number): HeadScores {
  if (distance === 0) return scores;
  // scores that all heads share come as one array: pooled once
  const known = new Map<Float32Array, Float32Array>();
  return (layer, head) => {
    const own = scores(layer, head);
    const kept = known.get(own) ?? largestWithin(own, distance);
    known.set(own, kept);
    return kept;
  };
}

/**
 * Sliding maximum: the largest number within `distance` places on both sides. A queue of falling candidates, which each
 * enters and leaves once, so the distance costs nothing.
 */
export function largestWithin(scores: Float32Array, distance: number): Float32Array {
  const best = new Float32Array(scores.length);
  const queue = new Uint32Array(scores.length);
  let head = 0;
  let tail = 0;
  for (let next = 0; next < scores.length + distance; next++) {
    if (next < scores.length) {
      while (tail > head && scores[queue[tail - 1]!]! <= scores[next]!) tail--;
      queue[tail++] = next;
    }
    const cell = next - distance;
    if (cell < 0) continue;
    if (queue[head]! < cell - distance) head++;
    best[cell] = scores[queue[head]!]!;
  }
  return best;
}

/**
 * The rank of each chosen cell among them: the share of the others with a lower score, so equal scores get equal ranks
 * and a best one of its own gets 1. The other cells get 0.
 *
 *     scores   5 2 2 9   ->   2/3 0 0 1
 *
 * @param cells chosen cells; default all
 * @returns [scores]
 */
export function ranks(scores: Float32Array, cells?: Uint32Array): Float32Array {
  const chosen = cells ?? Uint32Array.from(scores.keys());
  const values = taken(scores, chosen);
  const sorted = values.slice().sort();
  const ranked = new Float32Array(scores.length);
  const others = Math.max(1, chosen.length - 1);
  for (let i = 0; i < chosen.length; i++) ranked[chosen[i]!] = countBelow(sorted, values[i]!) / others;
  return ranked;
}

/**
 * The `count` cells with the highest scores, in rising order. Of equal scores the older cell wins.
 * @param cells candidates, in rising order
 */
export function bestCells(scores: Float32Array, cells: Uint32Array, count: number): Uint32Array {
  if (count >= cells.length) return cells;
  if (count <= 0) return new Uint32Array(0);
  const sorted = taken(scores, cells).sort();
  const threshold = sorted[sorted.length - count]!;
  let equals = count - (sorted.length - countUpTo(sorted, threshold));
  const best = new Uint32Array(count);
  let next = 0;
  for (let i = 0; i < cells.length; i++) {
    const score = scores[cells[i]!]!;
    if (score > threshold || (score === threshold && equals-- > 0)) best[next++] = cells[i]!;
  }
  return best;
}

// ---------------------------------------------------------------------------------------------------------------

function badScores(scorer: Scorer, what: string): KvfoldError {
  return new KvfoldError("KVFOLD_STRATEGY", `the scorer ${what}`, { who: scorer.name });
}

function needLength(scorer: Scorer, array: unknown, length: number, what: string): void {
  if (array instanceof Float32Array && array.length === length) return;
  const got = array instanceof Float32Array ? `${array.length} numbers` : "no Float32Array";
  throw badScores(scorer, `gave ${got} as ${what}, must be ${length}`);
}

const withoutNaN = (scores: Float32Array): Float32Array =>
  scores.some(Number.isNaN)
    ? scores.map((score) => (Number.isNaN(score) ? Number.NEGATIVE_INFINITY : score))
    : scores;

/** The scores of some cells. */
function taken(scores: Float32Array, cells: Uint32Array): Float32Array {
  const values = new Float32Array(cells.length);
  for (let i = 0; i < cells.length; i++) values[i] = scores[cells[i]!]!;
  return values;
}

/** Entries below `value`. */
function countBelow(sorted: Float32Array, value: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sorted[middle]! >= value) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Entries up to and including `value`. */
function countUpTo(sorted: Float32Array, value: number): number {
  let end = countBelow(sorted, value);
  while (sorted[end] === value) end++;
  return end;
}
