/** The operation `attend` against attention written out plainly. */
import { describe, expect, it } from "vitest";
import { randomSample } from "../test/fits.js";
import { naiveWeights } from "../test/naive-attention.js";
import { largestDifference, rejectedCode, smallCache, smallLayer } from "../test/small-cache.js";
import { referenceOps } from "./ops-reference.js";
import { futureQueries } from "./queries.js";
import type { CacheView } from "./view.js";

const layers = [smallLayer(), smallLayer({ kvHeads: 1, queryHeads: 3, rope: null })];
const bias = Float32Array.from({ length: 8 }, (_, cell) => cell / 8 - 0.5);
const sample = randomSample({ layers, cells: 8 }, 20);
const view = await smallCache({ layers, bias, queries: sample }).lease();

/** Results are f32, of weights of at most 1 that are computed in double. */
const BOUND = 2 ** -24 + 1e-12;

async function naive(of: CacheView, layer: number, head: number, options: object) {
  const shape = of.shape.layers[layer]!;
  const { cells } = of.shape;
  const keys = (await of.keys(layer, "stored")).subarray(head * cells * 32, (head + 1) * cells * 32);
  const last = of.positions.at(-1)!;
  const rows = futureQueries(of.signals.queries!, layer, shape, head, { last, ...options });
  const weights = Array.from({ length: rows.length / 32 }, (_, row) =>
    naiveWeights(rows.subarray(row * 32, (row + 1) * 32), keys, 32, of.bias),
  );
  const over = (combine: (all: number[]) => number): number[] =>
    Array.from({ length: cells }, (_, cell) => combine(weights.map((row) => row[cell]!)));
  const mean = (all: number[]): number => all.reduce((sum, weight) => sum + weight, 0) / all.length;
  return {
    rows: weights.length,
    maximum: over((all) => Math.max(...all)),
    mean: over(mean),
    rms: over((all) => Math.sqrt(mean(all.map((weight) => weight ** 2)))),
  };
}

describe("attend", () => {
  it.each([
    ["all query rows", {}, [40, 60]],
    ["a horizon", { horizon: 3 }, [40, 60]],
    // whole samples only: 3 of two heads, 2 of three
    ["at most 7 query rows", { maxRows: 7 }, [6, 6]],
  ] as const)("gives maximum, mean and root mean square over %s", async (_what, options, rows) => {
    for (const [layer, { kvHeads }] of layers.entries()) {
      const stats = await referenceOps.attend(view, layer, options);
      for (let head = 0; head < kvHeads; head++) {
        const want = await naive(view, layer, head, options);
        expect(want.rows).toBe(rows[layer]);
        for (const name of ["maximum", "mean", "rms"] as const) {
          const got = stats[name].subarray(head * 8, (head + 1) * 8);
          expect(largestDifference(got, want[name])).toBeLessThanOrEqual(BOUND);
        }
      }
    }
  });

  it("is the same when the work comes in pieces", async () => {
    // 512 cells of 32 channels make pieces of 256 rows
    const queries = randomSample({ layers: [smallLayer()], cells: 512 }, 150);
    const large = await smallCache({ cells: 512, queries }).lease();
    const stats = await referenceOps.attend(large, 0);
    const want = await naive(large, 0, 1, {});
    for (const name of ["maximum", "mean", "rms"] as const) {
      expect(largestDifference(stats[name].subarray(512), want[name])).toBeLessThanOrEqual(BOUND);
    }
  });

  it("needs the signal, a layer, queries of the layer, and whole numbers", async () => {
    const attend = referenceOps.attend;
    const bare = await smallCache({ layers }).lease();
    expect(await rejectedCode(attend(bare, 0))).toBe("KVFOLD_SIGNAL_MISSING");
    expect(await rejectedCode(attend(view, 2))).toBe("KVFOLD_ARGUMENT");
    const half = { ...sample, layers: [null, sample.layers[1]!] };
    const partial = await smallCache({ layers, queries: half }).lease();
    expect(await rejectedCode(attend(partial, 0))).toBe("KVFOLD_ARGUMENT");
    for (const options of [{ horizon: 0 }, { horizon: 1.5 }, { maxRows: Number.NaN }, { maxRows: 1 }]) {
      expect(await rejectedCode(attend(view, 0, options))).toBe("KVFOLD_ARGUMENT");
    }
  });

  it("stops between pieces once its signal has fired", async () => {
    expect(await rejectedCode(referenceOps.attend(view, 0, { signal: AbortSignal.abort() }))).toBe(
      "KVFOLD_ABORTED",
    );
    const controller = new AbortController();
    const running = referenceOps.attend(view, 0, { signal: controller.signal });
    setImmediate(() => controller.abort());
    expect(await rejectedCode(running)).toBe("KVFOLD_ABORTED");
  });
});
