/** Attention written out plainly, for tests of what is built on it. */

/** Softmax over all cells of one query. queries and keys: rows of `dim`. [cells] */
export function naiveWeights(
  query: ArrayLike<number>,
  keys: ArrayLike<number>,
  dim: number,
  bias: ArrayLike<number> | null,
): number[] {
  const scores = Array.from({ length: keys.length / dim }, (_, cell) => {
    let score = bias?.[cell] ?? 0;
    for (let i = 0; i < dim; i++) score += query[i]! * keys[cell * dim + i]!;
    return score;
  });
  const top = Math.max(...scores);
  const weights = scores.map((score) => Math.exp(score - top));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}

/** weights . values. [width] */
export const naiveOutput = (weights: readonly number[], values: ArrayLike<number>, width: number): number[] =>
  Array.from({ length: width }, (_, i) =>
    weights.reduce((sum, weight, cell) => sum + weight * values[cell * width + i]!, 0),
  );
