/** The generator: fixed outputs, range, and that seeds matter. */
import { describe, expect, it } from "vitest";
import { codeOf } from "../test/small-cache.js";
import { createRandom } from "./random.js";

const take = (seed: number, count: number): number[] => {
  const random = createRandom(seed);
  return Array.from({ length: count }, random);
};

/** sfc32 as published, in 64-bit arithmetic that masks after every step. */
function* published(seed: bigint): Generator<number> {
  const mask = 0xffffffffn;
  let [a, b, c, counter] = [0n, seed & mask, (seed >> 32n) & mask, 1n];
  for (;;) {
    const result = (a + b + counter) & mask;
    counter = (counter + 1n) & mask;
    a = b ^ (b >> 9n);
    b = (c + ((c << 3n) & mask)) & mask;
    c = ((((c << 21n) & mask) | (c >> 11n)) + result) & mask;
    yield Number(result);
  }
}

describe("createRandom", () => {
  it.each([0, 1, -1, 2 ** 40 + 17, -(2 ** 53) + 1])("is sfc32 after 15 rounds, seed %i", (seed) => {
    const numbers = published(BigInt(seed));
    for (let round = 0; round < 15; round++) numbers.next();
    expect(take(seed, 100).map((value) => value * 2 ** 32)).toEqual(
      Array.from({ length: 100 }, () => numbers.next().value),
    );
  });

  it("gives numbers in [0, 1) that fill it evenly", () => {
    const numbers = take(42, 20000);
    expect(numbers.every((value) => value >= 0 && value < 1)).toBe(true);
    const bins = new Array<number>(10).fill(0);
    for (const value of numbers) bins[Math.floor(10 * value)]!++;
    // 2000 a bin, standard deviation 42: five of them
    for (const bin of bins) expect(Math.abs(bin - 2000)).toBeLessThan(212);
  });

  it("gives the same numbers for the same seed, others for others", () => {
    expect(take(1, 5)).toEqual(take(1, 5));
    const firsts = new Set(Array.from({ length: 1000 }, (_, seed) => take(seed, 1)[0]));
    expect(firsts.size).toBe(1000);
  });

  it.each([0.5, Number.NaN, 2 ** 53])("refuses the seed %d", (seed) => {
    expect(codeOf(() => createRandom(seed))).toBe("KVFOLD_ARGUMENT");
  });
});
