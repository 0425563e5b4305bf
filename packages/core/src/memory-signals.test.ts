/** Signals of a cache in memory: handed out, checked, and carried through a fold. */
import { describe, expect, it } from "vitest";
import { randomSample } from "../test/fits.js";
import { foldWith } from "../test/layer-kinds.js";
import { codeOf, smallCache, smallLayer } from "../test/small-cache.js";
import { keepPlan } from "./plan/keep.js";
import type { QuerySample } from "./queries.js";

const layers = [smallLayer(), smallLayer({ kvHeads: 1, queryHeads: 3, keyDim: 64 })];
const sample = randomSample({ layers, cells: 8 }, 6);
const repeat = { layers: [Float32Array.from({ length: 16 }, (_, i) => i), new Float32Array(8)] };

describe("signals of a cache in memory", () => {
  it("are handed out", async () => {
    const { signals } = await smallCache({ layers, queries: sample, repeat }).lease();
    expect([signals.queries, signals.repeat]).toEqual([sample, repeat]);
    expect((await smallCache({ layers }).lease()).signals).toEqual({
      ...{ tokenLogProbs: null, queries: null, repeat: null },
    });
  });

  it("stay through a fold: queries as they are, attention with its cells", async () => {
    const cache = smallCache({ layers, queries: sample, repeat });
    await foldWith(cache, (view) => keepPlan(view, [1, 6, 7]));
    const { signals } = await cache.lease();
    expect(signals.queries).toEqual(sample);
    expect([...signals.repeat!.layers[0]!]).toEqual([1, 6, 7, 9, 14, 15]);
  });

  const first = sample.layers[0]!;
  it.each<[string, Partial<QuerySample>]>([
    ["layers are missing", { layers: [first] }],
    ["heads do not divide", { layers: [{ ...first, heads: 3 }, null] }],
    ["there are no heads", { layers: [{ ...first, heads: 0 }, null] }],
    ["the scale is no number", { layers: [{ ...first, scale: Number.NaN }, null] }],
    ["rows are short", { layers: [{ ...first, rows: first.rows.slice(1) }, null] }],
    ["positions are missing", { positions: new Int32Array(5) }],
  ])("are refused when %s", (_what, change) => {
    const queries = { ...sample, ...change };
    expect(codeOf(() => smallCache({ layers, queries }))).toBe("KVFOLD_ARGUMENT");
  });

  it("are refused when a second reading was of another cache", () => {
    for (const wrong of [
      { layers: [repeat.layers[0]!] },
      { layers: [new Float32Array(15), new Float32Array(8)] },
    ]) {
      expect(codeOf(() => smallCache({ layers, repeat: wrong }))).toBe("KVFOLD_ARGUMENT");
    }
  });
});
