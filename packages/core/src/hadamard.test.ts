/** The transform against the matrix that llama.cpp builds, and that it undoes itself. */
import { describe, expect, it } from "vitest";
import { codeOf, randomFloats } from "../test/small-cache.js";
import { hadamardFits, hadamardTransform } from "./hadamard.js";
import { createRandom } from "./random.js";

/** Entry (i, j) of the normalised matrix in natural order: the sign is the parity of the bits that i and j share. */
function entry(i: number, j: number, block: number): number {
  let parity = 0;
  for (let shared = i & j; shared > 0; shared >>= 1) parity ^= shared & 1;
  return (parity === 0 ? 1 : -1) / Math.sqrt(block);
}

describe("hadamardTransform", () => {
  it.each([1, 2, 4, 64, 128])("multiplies blocks of %i by the matrix", (block) => {
    const channels = 2 * block;
    const input = Float64Array.from(randomFloats(channels + 3, createRandom(block)));
    const output = input.slice();
    hadamardTransform(output, 3, channels, block);
    for (let i = 0; i < channels; i++) {
      const start = i - (i % block);
      let want = 0;
      for (let j = 0; j < block; j++) want += entry(i % block, j, block) * input[3 + start + j]!;
      // sums of at most 128 doubles below 1
      expect(Math.abs(output[3 + i]! - want)).toBeLessThan(1e-13);
    }
    expect(output.subarray(0, 3)).toEqual(input.subarray(0, 3));
  });

  it("is its own inverse and keeps lengths", () => {
    const input = Float64Array.from(randomFloats(128, createRandom(9)));
    const output = input.slice();
    hadamardTransform(output, 0, 128, 64);
    const length = (x: Float64Array): number => Math.hypot(...x);
    expect(length(output)).toBeCloseTo(length(input), 12);
    hadamardTransform(output, 0, 128, 64);
    for (const [i, value] of output.entries()) expect(value).toBeCloseTo(input[i]!, 12);
  });

  it.each([
    [64, 48],
    [48, 32],
    [64, 0],
    [64, -2],
    [64, 1.5],
    [64, Number.NaN],
  ])("refuses %d channels in blocks of %d", (channels, block) => {
    expect(hadamardFits(channels, block)).toBe(false);
    expect(codeOf(() => hadamardTransform(new Float64Array(64), 0, channels, block))).toBe("KVFOLD_ARGUMENT");
  });
});
