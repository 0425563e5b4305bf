/** Given values through two plans; fits only once they are materialised. */
import { describe, expect, it } from "vitest";
import { fitOf } from "../../test/fits.js";
import { foldWith } from "../../test/layer-kinds.js";
import { codeOf, smallCache, smallLayer } from "../../test/small-cache.js";
import type { MemoryCache } from "../memory-cache.js";
import type { CacheView } from "../view.js";
import { sharedPlan } from "./builder.js";
import { checkPlan } from "./check.js";
import { composePlans } from "./compose.js";
import { compositePlan, keepPlan } from "./keep.js";
import type { DenseValues, MergePlan } from "./plan.js";

// heads whose values have other sizes: an offset that is off by a head shows
const layers = [smallLayer({ valueDim: 64 }), smallLayer({ kvHeads: 1, valueDim: 32 })];
const shape = { layers };
const freshCache = () => smallCache({ cells: 6, layers });
const view = await freshCache().lease();
const after = (plan: MergePlan): CacheView => ({
  ...view,
  shape: { ...view.shape, cells: plan.rows },
  positions: plan.positions,
  counts: plan.counts,
});

/** Values of some rows of every head, each of its own number. */
function valuesOf(rows: number, given: readonly number[], from: number): DenseValues {
  const mask = new Uint8Array(2 * 2 * rows);
  const data: number[] = [];
  layers.forEach((layer, index) => {
    for (let head = 0; head < layer.kvHeads; head++) {
      for (const row of given) {
        mask[(index * 2 + head) * rows + row] = 1;
        data.push(...Array.from({ length: layer.valueDim }, () => from + 100 * index + 10 * head + row));
      }
    }
  });
  return { given: mask, data: Float32Array.from(data) };
}

const first: MergePlan = { ...keepPlan(view, [0, 1, 2, 5]), values: valuesOf(4, [1, 2], 1000) };
const rows = (...members: number[][]) =>
  members.map((row) => ({ members: row, position: Math.max(...row.map((cell) => first.positions[cell]!)) }));

const contents = async (cache: MemoryCache): Promise<unknown[]> => {
  const lease = await cache.lease();
  const floats = layers.flatMap((_, layer) => [lease.keys(layer, "stored"), lease.values(layer)]);
  return [...(await Promise.all(floats)), lease.positions, lease.counts];
};

/** Steps and product leave the same numbers. */
async function expectSame(one: MergePlan, two: MergePlan): Promise<void> {
  const product = composePlans(one, two, shape);
  checkPlan(product, view);
  const [steps, once] = [freshCache(), freshCache()];
  await foldWith(steps, () => one);
  await foldWith(steps, () => two);
  await foldWith(once, () => product);
  expect(await contents(once)).toEqual(await contents(steps));
}

describe("given values", () => {
  it("come along in rows that are carried", () => expectSame(first, keepPlan(after(first), [1, 3])));

  it("come along through a composite plan, head by head", () =>
    expectSame(first, compositePlan(after(first), Uint32Array.of(1, 3, 0, 2, 2, 3, 2, 3))));

  it("of a composite plan come along through either layout", async () => {
    const members = Uint32Array.of(0, 1, 2, 3, 2, 3, 4, 5, 0, 2, 4, 5, 0, 2, 4, 5);
    const composite = { ...compositePlan(view, members), values: valuesOf(4, [0, 3], 50) };
    await expectSame(composite, keepPlan(after(composite), [0, 2, 3]));
    await expectSame(composite, compositePlan(after(composite), Uint32Array.of(0, 3, 1, 3, 0, 1, 0, 1)));
  });

  it("of the second plan win", async () => {
    const second = { ...keepPlan(after(first), [0, 1, 3]), values: valuesOf(3, [1], 7) };
    await expectSame(first, second);
    await expectSame(keepPlan(view, [0, 1, 2, 5]), second);
  });

  it("may be dropped, and rows beside them merged", () =>
    expectSame(first, sharedPlan(after(first), rows([0, 3]))));

  it("may stand in for a merged row that the second plan gives", () =>
    expectSame(first, { ...sharedPlan(after(first), rows([0, 1], [3])), values: valuesOf(2, [0], 7) }));

  it("are not merged", () => {
    const merging = sharedPlan(after(first), rows([0, 1], [3]));
    expect(codeOf(() => composePlans(first, merging, shape))).toBe("KVFOLD_PLAN_COMPOSE");
    const scaled = sharedPlan(after(first), [{ members: [1], position: 5, valueWeights: [0.5] }]);
    expect(codeOf(() => composePlans(first, scaled, shape))).toBe("KVFOLD_PLAN_COMPOSE");
  });

  it("need the layers, and must fit them", () => {
    const second = keepPlan(after(first), [1, 3]);
    expect(codeOf(() => composePlans(first, second))).toBe("KVFOLD_PLAN_COMPOSE");
    const other = { layers: [smallLayer(), smallLayer()] };
    expect(codeOf(() => composePlans(first, second, other))).toBe("KVFOLD_PLAN_SHAPE");
  });
});

describe("a fit", () => {
  it("does not compose, whichever plan has it", () => {
    const fit = fitOf({ free: Uint8Array.of(0, 1, 0, 1, ...new Uint8Array(12)) });
    const fitting = { ...keepPlan(view, [0, 1, 2, 5]), fit };
    const second = keepPlan(after(first), [0, 1, 2, 3]);
    expect(codeOf(() => composePlans(fitting, second, shape))).toBe("KVFOLD_PLAN_COMPOSE");
    expect(codeOf(() => composePlans(second, { ...second, fit }, shape))).toBe("KVFOLD_PLAN_COMPOSE");
  });
});
