/** Seeded random numbers: the same seed gives the same cache on every machine. */
import { createRandom } from "@kvfold/core";

/** A generator of random numbers. */
export interface Random {
  /** In [0, 1). */
  next(): number;
  /** An integer in [0, n). */
  below(n: number): number;
  /** Standard normal (Box-Muller). */
  normal(): number;
  /** A copy in random order (Fisher-Yates). */
  shuffle<T>(items: readonly T[]): T[];
}

/** Uniform, integer, normal and shuffled numbers from one seed. */
export function seededRandom(seed: number): Random {
  const next = createRandom(seed);
  const below = (n: number): number => Math.floor(next() * n);
  return {
    next,
    below,
    normal: () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next()),
    shuffle: (items) => {
      const copy = [...items];
      for (let i = copy.length - 1; i > 0; i--) {
        const j = below(i + 1);
        [copy[i], copy[j]] = [copy[j]!, copy[i]!];
      }
      return copy;
    },
  };
}
