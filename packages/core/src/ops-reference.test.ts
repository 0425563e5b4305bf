/** Key statistics against numbers worked out by hand, and their edges. */
import { describe, expect, it } from "vitest";
import { randomFloats, rejectedCode, smallCache, smallLayer } from "../test/small-cache.js";
import { referenceOps } from "./ops-reference.js";
import { createRandom } from "./random.js";
import type { CacheView } from "./view.js";

/** A view whose unrotated keys are these, one head. */
async function viewOf(keys: number[][]): Promise<CacheView> {
  const layers = [smallLayer({ kvHeads: 1, keyDim: 2, rope: null })];
  return smallCache({ layers, cells: keys.length, keys: [Float32Array.from(keys.flat())] }).lease();
}

describe("keyStats", () => {
  it("measures norms, and cosines with the mean of the unit keys", async () => {
    const stats = await referenceOps.keyStats(
      await viewOf([
        [3, 4],
        [10, 0],
        [0, 0.5],
      ]),
      0,
    );
    expect(stats.norm).toEqual(Float32Array.of(5, 10, 0.5));
    // unit keys (.6 .8) (1 0) (0 1): the sum is (1.6 1.8)
    const length = Math.hypot(1.6, 1.8);
    const want = [(0.6 * 1.6 + 0.8 * 1.8) / length, 1.6 / length, 1.8 / length];
    stats.meanCosine.forEach((value, i) => {
      expect(Math.abs(value - want[i]!)).toBeLessThan(2 ** -23);
    });
  });

  it("gives keys of length zero no direction", async () => {
    const stats = await referenceOps.keyStats(
      await viewOf([
        [0, 0],
        [2, 0],
        [0, 0],
      ]),
      0,
    );
    expect(stats.norm).toEqual(Float32Array.of(0, 2, 0));
    expect(stats.meanCosine).toEqual(Float32Array.of(0, 1, 0));
  });

  it("says 0 where the mean has no direction", async () => {
    const stats = await referenceOps.keyStats(
      await viewOf([
        [1, 0],
        [-5, 0],
      ]),
      0,
    );
    expect(stats.meanCosine).toEqual(Float32Array.of(0, 0));
    expect((await referenceOps.keyStats(await viewOf([[0, 0]]), 0)).meanCosine).toEqual(Float32Array.of(0));
  });

  it("does not see where a key stands", async () => {
    // equal content at every position: all unrotated keys agree
    const key = randomFloats(32, createRandom(2));
    const cache = smallCache({
      layers: [smallLayer({ kvHeads: 1, rope: null })],
      keys: [Float32Array.from({ length: 8 * 32 }, (_, i) => key[i % 32]!)],
    });
    const plain = await referenceOps.keyStats(await cache.lease(), 0);
    expect(plain.meanCosine.every((value) => Math.abs(value - 1) < 2 ** -22)).toBe(true);
    const rotated = await smallCache({ cells: 64, seed: 6 }).lease();
    const stats = await referenceOps.keyStats(rotated, 0);
    const stored = await rotated.keys(0, "stored");
    const norm = Math.hypot(...stored.subarray(5 * 32, 6 * 32));
    expect(stats.norm[5]! / norm).toBeCloseTo(1, 6);
  });

  it("answers a cancelled call and a missing layer with a code", async () => {
    const view = await viewOf([[1, 2]]);
    expect(await rejectedCode(referenceOps.keyStats(view, 0, { signal: AbortSignal.abort() }))).toBe(
      "KVFOLD_ABORTED",
    );
    expect(await rejectedCode(referenceOps.keyStats(view, 4))).toBe("KVFOLD_ARGUMENT");
  });

  it("takes 4096 cells, 6 layers, 2 heads of 64 channels in under 100 ms", async () => {
    const keys = randomFloats(2 * 4096 * 64, createRandom(1));
    const layers = Array.from({ length: 6 }, (_, layer) => smallLayer({ layer, keyDim: 64 }));
    const view = { ...(await smallCache().lease()), shape: { layers, cells: 4096 }, keys: async () => keys };
    // other work on the machine only ever makes a run slower: the least of some counts
    let least = Number.POSITIVE_INFINITY;
    for (let run = 0; run < 40 && least >= 100; run++) {
      const start = performance.now();
      for (let layer = 0; layer < 6; layer++) await referenceOps.keyStats(view, layer);
      least = Math.min(least, performance.now() - start);
    }
    expect(least).toBeLessThan(100);
  });
});
