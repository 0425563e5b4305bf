/** Fits of the reference executor: the values solve the least squares, and everything else is as without them. */
import { describe, expect, it } from "vitest";
import { fitOf, randomSample } from "../../test/fits.js";
import { naiveOutput, naiveWeights } from "../../test/naive-attention.js";
import {
  largestDifference,
  rejectedCode,
  type SmallCacheOptions,
  smallCache,
  smallLayer,
  snapshot,
} from "../../test/small-cache.js";
import type { CacheLease } from "../cache.js";
import type { FitOutcome } from "../executor.js";
import type { MemoryCache } from "../memory-cache.js";
import { sharedPlan } from "../plan/builder.js";
import { compositePlan, identityPlan, keepPlan } from "../plan/keep.js";
import type { FitRequest, MergePlan } from "../plan/plan.js";
import { futureQueries } from "../queries.js";
import type { CacheView } from "../view.js";

const SAMPLES = 40;
const queriesOf = (layers = [smallLayer()]) => randomSample({ layers, cells: 8 }, SAMPLES);

/** Marks rows of every head. */
function freeMask(plan: MergePlan, heads: number, rows: readonly number[]): Uint8Array {
  return Uint8Array.from({ length: heads * plan.rows }, (_, i) => (rows.includes(i % plan.rows) ? 1 : 0));
}

interface Folded {
  readonly cache: MemoryCache;
  readonly before: CacheView;
  readonly after: CacheView;
  readonly fits: readonly FitOutcome[] | null;
  readonly plan: MergePlan;
}

/** Folds a small cache by a plan with a fit of some of its rows. */
async function fold(
  options: SmallCacheOptions,
  make: (view: CacheLease) => MergePlan,
  rows: readonly number[],
  change: Partial<FitRequest> = {},
): Promise<Folded> {
  const { layers = [smallLayer()] } = options;
  const queries = options.queries ?? queriesOf([...layers]);
  const before = await smallCache({ ...options, queries }).lease();
  const cache = smallCache({ ...options, queries });
  const lease = await cache.lease();
  const bare = make(lease);
  const fit = fitOf({ free: freeMask(bare, 2 * layers.length, rows), queries: queries.hash, ...change });
  const plan = { ...bare, fit };
  const { fits = null } = await cache.apply(lease, plan);
  lease.release();
  return { cache, before, after: await cache.lease(), fits, plan };
}

/** Queries, weights and targets of one head, written out plainly. */
async function head({ before, after, plan }: Folded, layer: number, head: number) {
  const shape = before.shape.layers[layer]!;
  const { horizon, maxRows } = plan.fit!;
  const part = async (view: CacheView, which: "keys" | "values") => {
    const { cells } = view.shape;
    const all = which === "keys" ? await view.keys(layer, "stored") : await view.values(layer);
    return all.subarray(head * cells * 32, (head + 1) * cells * 32);
  };
  const rowsAt = (last: number) => {
    const all = futureQueries(before.signals.queries!, layer, shape, head, { last, horizon, maxRows });
    return Array.from({ length: all.length / 32 }, (_, row) => all.subarray(row * 32, (row + 1) * 32));
  };
  const [keys, values] = [await part(before, "keys"), await part(before, "values")];
  const [newKeys, newValues] = [await part(after, "keys"), await part(after, "values")];
  const targets = rowsAt(before.positions.at(-1)!).map((query) =>
    naiveOutput(naiveWeights(query, keys, 32, before.bias), values, 32),
  );
  const weights = rowsAt(after.positions.at(-1)!).map((query) =>
    naiveWeights(query, newKeys, 32, after.bias),
  );
  return { targets, weights, newValues, values };
}

/** |A V - O| / |O| over the rows that judge. */
function judged(
  weights: number[][],
  values: ArrayLike<number>,
  targets: number[][],
  holdout: number,
): number {
  let [error, size] = [0, 0];
  weights.forEach((row, index) => {
    if (index % holdout !== holdout - 1) return;
    naiveOutput(row, values, 32).forEach((got, i) => {
      error += (got - targets[index]![i]!) ** 2;
      size += targets[index]![i]! ** 2;
    });
  });
  return Math.sqrt(error / size);
}

describe("a fit", () => {
  const KEPT = [0, 2, 3, 5, 7];
  const FREE = [1, 2, 4];

  it("solves the normal equations on the rows that fit, beside the rows that are read-only", async () => {
    // ridge factors of both heads
    const free = Uint8Array.of(0, 1, 7, 0, 1, 0, 20, 1, 0, 3);
    const folded = await fold({}, (view) => keepPlan(view, KEPT), FREE, { free });
    for (const own of [0, 1]) {
      const { targets, weights, newValues, values } = await head(folded, 0, own);
      const fitting = weights.flatMap((row, index) =>
        index % 5 === 4 ? [] : [{ row, target: targets[index]! }],
      );
      const trace = fitting.reduce((sum, { row }) => sum + FREE.reduce((all, f) => all + row[f]! ** 2, 0), 0);
      const ridge = (0.01 * trace) / FREE.length;
      for (const f of FREE) {
        for (let i = 0; i < 32; i++) {
          let gradient =
            free[own * KEPT.length + f]! * ridge * (newValues[f * 32 + i]! - values[KEPT[f]! * 32 + i]!);
          for (const { row, target } of fitting) {
            gradient += row[f]! * (naiveOutput(row, newValues, 32)[i]! - target[i]!);
          }
          // values stored in f32 are off by 2^-24 of about 8 at most, times |A^T A| <= 64
          expect(Math.abs(gradient)).toBeLessThan(64 * 8 * 2 ** -24);
        }
      }
    }
  });

  it("reports the error on the rows that judge, before and after", async () => {
    const folded = await fold({}, (view) => keepPlan(view, KEPT), FREE);
    expect(folded.fits!.map(({ layer, head: own }) => [layer, own])).toEqual([
      [0, 0],
      [0, 1],
    ]);
    for (const fit of folded.fits!) {
      const { targets, weights, newValues, values } = await head(folded, 0, fit.head);
      const kept = KEPT.flatMap((cell) => [...values.subarray(cell * 32, (cell + 1) * 32)]);
      // values are stored in f32
      expect(fit.before).toBeCloseTo(judged(weights, kept, targets, 5), 6);
      expect(fit.after).toBeCloseTo(judged(weights, newValues, targets, 5), 6);
      expect(fit.accepted).toBe(true);
      expect(fit.after).toBeLessThan(0.7 * fit.before);
    }
  });

  it("changes no byte but the values that are free", async () => {
    const make = (view: CacheLease) => keepPlan(view, KEPT);
    const fitted = await fold({}, make, FREE);
    const plain = smallCache({});
    const lease = await plain.lease();
    await plain.apply(lease, make(lease));
    lease.release();
    const bare = await plain.lease();
    expect(await fitted.after.keys(0, "stored")).toEqual(await bare.keys(0, "stored"));
    const [got, want] = [await fitted.after.values(0), await bare.values(0)];
    for (let row = 0; row < 10; row++) {
      const same = got.subarray(row * 32, (row + 1) * 32).every((value, i) => value === want[row * 32 + i]);
      expect(same).toBe(!FREE.includes(row % 5));
    }
  });

  it("finds the same values in a cache under Hadamard", async () => {
    const make = (view: CacheLease) => keepPlan(view, KEPT);
    const plain = await fold({}, make, FREE);
    const layers = [smallLayer({ hadamard: { key: 32, value: 32 } })];
    const turned = await fold({ layers }, make, FREE);
    const difference = largestDifference(await turned.after.values(0), await plain.after.values(0));
    // stored in another basis, keys and values are off by sqrt 32 roundoffs; the system has a condition of at most 300
    expect(difference).toBeLessThan(300 * Math.sqrt(32) * 2 ** -24 * 8);
    expect(difference).toBeGreaterThan(0);
  });

  it("of different cells in every head", async () => {
    const layers = [smallLayer(), smallLayer({ kvHeads: 1, queryHeads: 3 })];
    const members = [0, 2, 5, 7, 1, 3, 6, 7, 0, 1, 4, 7, 0, 1, 4, 7];
    const free = Uint8Array.of(1, 0, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0);
    const make = (view: CacheLease) => compositePlan(view, Uint32Array.from(members));
    const { fits } = await fold({ layers }, make, [], { free });
    expect(fits!.map(({ layer, head: own }) => [layer, own])).toEqual([
      [0, 0],
      [0, 1],
      [1, 0],
    ]);
    expect(fits![1]).toEqual({ layer: 0, head: 1, before: Number.NaN, after: Number.NaN, accepted: false });
    for (const index of [0, 2]) expect(fits![index]!.after).toBeLessThan(fits![index]!.before);
  });

  it("takes the biases of cells and rows into account", async () => {
    const bias = Float32Array.from({ length: 8 }, (_, cell) => (cell % 3) - 1);
    const { fits } = await fold({ bias }, identityPlan, [1, 2]);
    // all cells are there with their biases: nothing is missing, so nothing is taken
    for (const { before, accepted } of fits!) {
      expect(before).toBeLessThan(1e-12);
      expect(accepted).toBe(false);
    }
    const folded = await fold({ bias }, (view) => keepPlan(view, KEPT), FREE);
    const { targets, weights, newValues } = await head(folded, 0, 1);
    expect(folded.fits![1]!.after).toBeCloseTo(judged(weights, newValues, targets, 5), 6);
  });

  it("turns the queries with the positions of a squeezed cache", async () => {
    // positions 20.. become 0.., keys turn along: as far as queries after the last one can tell, nothing has changed
    const positions = Int32Array.from({ length: 8 }, (_, cell) => 20 + cell);
    const shift = (view: CacheLease) => {
      const rows = Array.from({ length: 8 }, (_, cell) => ({ members: [cell], position: cell }));
      return sharedPlan(view, rows, { keyFrame: "target" });
    };
    const { fits } = await fold({ positions }, shift, [1, 2]);
    // keys are stored in f32 on either side
    for (const { before } of fits!) expect(before).toBeLessThan(1e-5);
  });

  it("that helps nobody is dropped to the last byte", async () => {
    const folded = await fold({}, identityPlan, [1, 2]);
    expect(folded.fits!.every(({ accepted, before, after }) => !accepted && before === after)).toBe(true);
    expect(await folded.after.values(0)).toEqual(await folded.before.values(0));
  });

  it("never stores what the type cannot hold", async () => {
    const layers = [smallLayer({ valueType: "f16" })];
    const values = [Float32Array.from({ length: 2 * 8 * 32 }, (_, i) => (i % 3 === 0 ? -65000 : 65000))];
    const folded = await fold({ layers, values }, (view) => keepPlan(view, [0, 7]), [0], { lambda: 1e-6 });
    expect((await folded.after.values(0)).every(Number.isFinite)).toBe(true);
  });

  it("is refused without its sample, and leaves every byte", async () => {
    const queries = queriesOf();
    const cache = smallCache({});
    const bytes = snapshot(cache);
    const lease = await cache.lease();
    const bare = keepPlan(lease, KEPT);
    const plan = { ...bare, fit: fitOf({ free: freeMask(bare, 2, FREE), queries: queries.hash }) };
    expect(await rejectedCode(cache.apply(lease, plan))).toBe("KVFOLD_PLAN_FIT");
    expect(snapshot(cache)).toEqual(bytes);
  });

  it("is given up when the signal fires", async () => {
    const queries = queriesOf();
    const cache = smallCache({ queries });
    const bytes = snapshot(cache);
    const lease = await cache.lease();
    const bare = keepPlan(lease, KEPT);
    const plan = { ...bare, fit: fitOf({ free: freeMask(bare, 2, FREE), queries: queries.hash }) };
    const controller = new AbortController();
    const applying = cache.apply(lease, plan, { signal: controller.signal });
    setImmediate(() => controller.abort());
    expect(await rejectedCode(applying)).toBe("KVFOLD_ABORTED");
    expect(snapshot(cache)).toEqual(bytes);
  });
});
