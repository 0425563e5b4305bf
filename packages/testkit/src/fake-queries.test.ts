/** Fake signals: the same for the same seed, of the right form, and neither flat nor on one cell. */
import { futureQueries, hashQueries, referenceOps } from "@kvfold/core";
import { describe, expect, it } from "vitest";
import { fakeMemoryCache } from "./fake-cache.js";
import { fakeQueries, fakeRepeat } from "./fake-queries.js";
import { fakeShape } from "./fake-shape.js";
import { watchView } from "./watch-view.js";

const shape = fakeShape({
  cells: 32,
  layers: [
    { kvHeads: 3, queryHeads: 6 },
    { keyDim: 64, rope: null },
  ],
});

describe("fakeQueries", () => {
  it("is the same for the same seed, another for another", () => {
    expect(fakeQueries(3, shape, 20)).toEqual(fakeQueries(3, shape, 20));
    expect(fakeQueries(4, shape, 20).hash).not.toBe(fakeQueries(3, shape, 20).hash);
  });

  it("fits every layer, and names itself", () => {
    const sample = fakeQueries(3, shape, 20);
    expect(sample.hash).toBe(hashQueries(sample));
    shape.layers.forEach((layer, index) => {
      const rows = futureQueries(sample, index, layer, layer.kvHeads - 1, { last: 31 });
      expect(rows).toHaveLength(20 * (layer.queryHeads / layer.kvHeads) * layer.keyDim);
      expect(rows.every(Number.isFinite)).toBe(true);
    });
  });

  it("attends to some cells more than to others, and to more than one", async () => {
    const lease = await fakeMemoryCache(1, { cells: 32 }).lease();
    const { maximum, mean } = await referenceOps.attend(lease, 0);
    expect(Math.max(...mean.subarray(0, 32))).toBeGreaterThan(2 / 32);
    expect(Math.max(...mean.subarray(0, 32))).toBeLessThan(0.5);
    expect(Math.min(...maximum)).toBeGreaterThan(0);
  });
});

describe("fakeRepeat", () => {
  it("gives weights to every head and cell, most to needles", () => {
    const { layers } = fakeRepeat(5, shape, [7]);
    expect(layers.map((weights) => weights.length)).toEqual([3 * 32, 2 * 32]);
    for (const weights of layers) {
      expect(weights.every((weight) => weight >= 0 && weight <= 1)).toBe(true);
      expect(weights.subarray(0, 32).indexOf(Math.max(...weights.subarray(0, 32)))).toBe(7);
    }
  });
});

describe("a fake cache", () => {
  it("has both signals, unless it is to have none", async () => {
    const { signals } = await fakeMemoryCache(1, { samples: 9 }).lease();
    expect(signals.queries?.positions).toHaveLength(9);
    expect(signals.repeat).not.toBeNull();
    const bare = await fakeMemoryCache(1, { withoutSignals: true }).lease();
    expect(bare.signals).toEqual({ tokenLogProbs: null, queries: null, repeat: null });
  });

  it("is watched, signals included", async () => {
    const lease = await fakeMemoryCache(1, {}).lease();
    const watched = watchView(lease);
    const { queries, repeat } = watched.view.signals;
    expect(watched.written()).toEqual([]);
    queries!.layers[1]!.rows[3]! ^= 1;
    queries!.positions[0]! += 1;
    repeat!.layers[0]![2] = 7;
    const names = ["query positions", "queries of layer 1", "repeat attention of layer 0"];
    expect(watched.written().sort()).toEqual(names.sort());
  });
});
