/** A small seeded generator, so that the same seed gives the same plan on every machine. */
import { KvfoldError } from "./errors.js";

/**
 * sfc32 (Doty-Humphrey, PractRand): a 96-bit chaotic state and a 32-bit counter, period at least 2^32. Not for secrets.
 *
 * @param seed any whole number within 2^53
 * @returns numbers in [0, 1), multiples of 2^-32
 * @throws KvfoldError KVFOLD_ARGUMENT
 */
export function createRandom(seed: number): () => number {
  if (!Number.isSafeInteger(seed)) {
    throw new KvfoldError("KVFOLD_ARGUMENT", `the seed is ${seed}: must be a whole number within 2^53`, {
      who: "random",
    });
  }
  let a = 0;
  let b = seed | 0;
  let c = Math.floor(seed / 2 ** 32) | 0;
  let counter = 1;
  const next = (): number => {
    const result = (a + b + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + result) | 0;
    return (result >>> 0) / 2 ** 32;
  };
  // spreads the seed over the whole state before the first number leaves
  for (let round = 0; round < 15; round++) next();
  return next;
}
