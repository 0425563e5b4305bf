/** Seeded heads for the tests of attention. */
import { createRandom } from "../src/random.js";

/** Numbers around 0, roughly normal (sum of four uniform ones, variance 1/3), times `scale`. */
export function randomRows(random: () => number, count: number, scale = 1): Float32Array {
  return Float32Array.from({ length: count }, () => scale * (random() + random() + random() + random() - 2));
}

/** A head of random queries, keys and values, with or without bias. */
export interface RandomHead {
  readonly dim: number;
  readonly valueDim: number;
  readonly queries: Float32Array;
  readonly keys: Float32Array;
  readonly bias: Float32Array | null;
  readonly values: Float32Array;
}

/** Scores of a few units in magnitude: some cells matter, none is alone. */
export function randomHead(
  seed: number,
  rows: number,
  cells: number,
  dim: number,
  valueDim: number,
): RandomHead {
  const random = createRandom(seed);
  return {
    dim,
    valueDim,
    queries: randomRows(random, rows * dim, 3 / Math.sqrt(dim)),
    keys: randomRows(random, cells * dim, 2),
    bias: seed % 2 === 0 ? randomRows(random, cells) : null,
    values: randomRows(random, cells * valueDim),
  };
}
