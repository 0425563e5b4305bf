/** A materialised fit: the values that the executor finds, as plain data. */
import { describe, expect, it } from "vitest";
import { fitOf, randomSample } from "../../test/fits.js";
import { largestDifference, rejectedCode, smallCache, smallLayer } from "../../test/small-cache.js";
import type { CacheLease } from "../cache.js";
import { composePlans } from "../plan/compose.js";
import { compositePlan, identityPlan, keepPlan } from "../plan/keep.js";
import type { MergePlan } from "../plan/plan.js";
import type { LayerShape } from "../shape.js";
import { materialise } from "./materialise.js";

const layers = [smallLayer(), smallLayer({ kvHeads: 1, queryHeads: 3, valueDim: 64 }), smallLayer()];
/** Rows of layer 0 head 0, and of layer 1; none of layer 2. */
const free = Uint8Array.of(1, 0, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1, ...new Uint8Array(12));
const members = Uint32Array.of(0, 2, 5, 7, 1, 3, 6, 7, 0, 1, 4, 7, 0, 1, 4, 7, 0, 1, 2, 7, 4, 5, 6, 7);

async function setUp(change: Partial<LayerShape> = {}, make?: (view: CacheLease) => MergePlan) {
  const changed = layers.map((layer) => ({ ...layer, ...change }));
  const queries = randomSample({ layers: changed, cells: 8 }, 40);
  const fresh = () => smallCache({ layers: changed, queries });
  const lease = await fresh().lease();
  const bare = (make ?? ((view) => compositePlan(view, members)))(lease);
  const mask =
    bare.rows === 4 ? free : Uint8Array.from({ length: 6 * bare.rows }, (_, i) => (i === 1 ? 1 : 0));
  const plan: MergePlan = { ...bare, fit: fitOf({ free: mask, queries: queries.hash }) };
  return { fresh, lease, plan, queries };
}

/** Values of all layers after a fold. */
async function valuesAfter(cache: ReturnType<typeof smallCache>, plan: MergePlan): Promise<number[]> {
  const lease = await cache.lease();
  await cache.apply(lease, plan);
  lease.release();
  const after = await cache.lease();
  return (await Promise.all(layers.map((_, layer) => after.values(layer)))).flatMap((part) => [...part]);
}

describe("materialise", () => {
  it("gives the values that the executor solves, to the bit in f32", async () => {
    const { fresh, lease, plan, queries } = await setUp();
    const dense = await materialise(plan, lease, queries);
    expect(dense.fit).toBeNull();
    expect(dense.values!.given).toEqual(free);
    expect(dense.values!.data).toHaveLength(2 * 32 + 3 * 64);
    expect(await valuesAfter(fresh(), dense)).toEqual(await valuesAfter(fresh(), plan));
  });

  it("gives them within the rounding of other types, Hadamard undone", async () => {
    const { fresh, lease, plan, queries } = await setUp({
      valueType: "f16",
      hadamard: { key: 32, value: 32 },
    });
    const dense = await materialise(plan, lease, queries);
    const difference = largestDifference(await valuesAfter(fresh(), dense), await valuesAfter(fresh(), plan));
    // two roundings to f16 of values up to 8
    expect(difference).toBeLessThan(2 * 8 * 2 ** -11);
  });

  it("gives nothing where the fit was dropped", async () => {
    const { lease, plan, queries } = await setUp({}, identityPlan);
    expect((await materialise(plan, lease, queries)).values).toBeNull();
  });

  it("returns a plan without a fit as it is", async () => {
    const { lease, plan } = await setUp();
    const bare = { ...plan, fit: null };
    expect(await materialise(bare, lease, null)).toBe(bare);
  });

  it("makes plans compose", async () => {
    const { fresh, lease, plan, queries } = await setUp({}, (view) => keepPlan(view, [0, 2, 5, 7]));
    const dense = await materialise(plan, lease, queries);
    const after = {
      ...lease,
      shape: { ...lease.shape, cells: 4 },
      positions: dense.positions,
      counts: dense.counts,
    };
    const product = composePlans(dense, keepPlan(after, [0, 2, 3]), lease.shape);
    const want = fresh();
    const held = await want.lease();
    await want.apply(held, plan);
    held.release();
    expect(await valuesAfter(fresh(), product)).toEqual(await valuesAfter(want, keepPlan(after, [0, 2, 3])));
  });

  it("refuses another sample, and heeds its signal", async () => {
    const { lease, plan } = await setUp();
    const other = randomSample({ layers, cells: 8 }, 40, 6);
    expect(await rejectedCode(materialise(plan, lease, other))).toBe("KVFOLD_PLAN_FIT");
    expect(await rejectedCode(materialise(plan, lease, null))).toBe("KVFOLD_PLAN_FIT");
    const aborted = { signal: AbortSignal.abort() };
    expect(await rejectedCode(materialise(plan, lease, lease.signals.queries, aborted))).toBe(
      "KVFOLD_ABORTED",
    );
  });
});
