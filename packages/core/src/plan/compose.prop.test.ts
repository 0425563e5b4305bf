/** A composed plan does what its two plans do one after the other; and the order of composing does not matter. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { foldWith } from "../../test/layer-kinds.js";
import { anyPlans, compositePlans, SEED, sharedPlans } from "../../test/plans.js";
import { largestDifference, smallCache, smallLayer } from "../../test/small-cache.js";
import { isKvfoldError } from "../errors.js";
import type { MemoryCache } from "../memory-cache.js";
import type { CacheView } from "../view.js";
import { checkPlan } from "./check.js";
import { composePlans } from "./compose.js";
import type { MergePlan, SharedPlan } from "./plan.js";
import { nextBias } from "./rows.js";

const CELLS = 7;
const layers = [smallLayer(), smallLayer({ kvHeads: 1, rope: null })];
const tokens = Int32Array.from({ length: CELLS }, (_, cell) => 100 + cell);
const freshCache = (): MemoryCache => smallCache({ cells: CELLS, layers, tokens, seed: 11 });
const view: CacheView = await freshCache().lease();

/** The view that a plan leaves, as far as plans are made from it. */
const viewAfter = (plan: MergePlan, before: CacheView): CacheView => ({
  ...before,
  shape: { ...before.shape, cells: plan.rows },
  positions: plan.positions,
  counts: plan.counts,
  bias: nextBias(plan),
});

type Maker = (of: CacheView) => fc.Arbitrary<MergePlan>;
const pairsOf = (make: Maker): fc.Arbitrary<[MergePlan, MergePlan]> =>
  make(view).chain((first) =>
    make(viewAfter(first, view)).map((second): [MergePlan, MergePlan] => [first, second]),
  );
const triplesOf = (make: Maker): fc.Arbitrary<[MergePlan, MergePlan, MergePlan]> =>
  pairsOf(make).chain(([first, second]) =>
    make(viewAfter(second, viewAfter(first, view))).map((third): [MergePlan, MergePlan, MergePlan] => [
      first,
      second,
      third,
    ]),
  );

/** All floats, and everything that has to agree exactly. */
async function contents(cache: MemoryCache): Promise<{ floats: number[]; facts: unknown }> {
  const lease = await cache.lease();
  const parts = await Promise.all(
    layers.flatMap((_, layer) => [lease.keys(layer, "stored"), lease.values(layer)]),
  );
  lease.release();
  return {
    floats: parts.flatMap((part) => [...part]),
    facts: [lease.shape.cells, lease.positions, lease.counts, lease.bias],
  };
}

/**
 * 7 members, weights up to 2 twice, keys up to sqrt 2: sums of magnitudes up to 40. Rounded in f32 are the product of
 * the weights, the row in between, and the last row on either side.
 */
const BOUND = 40 * 4 * 2 ** -24;

describe("executing the composition", () => {
  it("gives the rows of one plan after the other", async () => {
    let composed = 0;
    await fc.assert(
      fc.asyncProperty(pairsOf(anyPlans), async ([first, second]) => {
        let both: MergePlan;
        try {
          both = composePlans(first, second);
        } catch (error) {
          if (isKvfoldError(error) && error.code === "KVFOLD_PLAN_COMPOSE") return;
          throw error;
        }
        composed++;
        checkPlan(both, view);
        const [steps, once] = [freshCache(), freshCache()];
        await foldWith(steps, () => first);
        await foldWith(steps, () => second);
        await foldWith(once, () => both);
        const [want, got] = [await contents(steps), await contents(once)];
        expect(got.facts).toEqual(want.facts);
        expect(largestDifference(got.floats, want.floats)).toBeLessThanOrEqual(BOUND);
      }),
      { seed: SEED, numRuns: 150 },
    );
    expect(composed).toBeGreaterThan(50);
  });

  it("is exact, source maps and tokens included, where cells are only kept", async () => {
    const keeping: Maker = (of) => fc.oneof(compositePlans(of), sharedPlans(of, { keepOnly: true }));
    await fc.assert(
      fc.asyncProperty(pairsOf(keeping), async ([first, second]) => {
        const [steps, once] = [freshCache(), freshCache()];
        await foldWith(steps, () => first);
        await foldWith(steps, () => second);
        await foldWith(once, () => composePlans(first, second));
        expect(await contents(once)).toEqual(await contents(steps));
        expect(once.memory().sources).toEqual(steps.memory().sources);
      }),
      { seed: SEED, numRuns: 100 },
    );
  });
});

describe("the order of composing", () => {
  it("does not matter", () => {
    const make: Maker = (of) => fc.oneof(sharedPlans(of), sharedPlans(of, { keepOnly: true }));
    fc.assert(
      fc.property(triplesOf(make), ([a, b, c]) => {
        const left = composePlans(composePlans(a, b), c) as SharedPlan;
        const right = composePlans(a, composePlans(b, c)) as SharedPlan;
        const plain = ({ keyWeights: _key, valueWeights: _value, ...rest }: SharedPlan) => rest;
        expect(plain(left)).toEqual(plain(right));
        for (const which of ["keyWeights", "valueWeights"] as const) {
          expect(left[which].scope).toBe(right[which].scope);
          // products of three weights up to 2, rounded twice on either side
          expect(largestDifference(left[which].data, right[which].data)).toBeLessThanOrEqual(
            8 * 4 * 2 ** -24,
          );
        }
      }),
      { seed: SEED, numRuns: 200 },
    );
  });

  it("does not matter for composite plans, to the byte", () => {
    fc.assert(
      fc.property(triplesOf(compositePlans), ([a, b, c]) => {
        expect(composePlans(composePlans(a, b), c)).toEqual(composePlans(a, composePlans(b, c)));
      }),
      { seed: SEED, numRuns: 200 },
    );
  });
});
