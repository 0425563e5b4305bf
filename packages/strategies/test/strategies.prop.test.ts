/** For random caches, ranges, pins and ratios: what every strategy promises, and what eviction promises besides. */
import { checkPlan, hashPlan, isKvfoldError, type MergePlan, resolveStrategy } from "@kvfold/core";
import { type FakeCacheOptions, type PlanRequest, type PlanResult, planOn } from "@kvfold/testkit";
import fc from "fast-check";
import { expect, it } from "vitest";
import { createDefaultRegistry } from "../src/index.js";

const SEED = 20240303;
const registry = createDefaultRegistry();

interface Situation {
  readonly cache: FakeCacheOptions;
  readonly request: PlanRequest & { readonly range: { from: number; to: number }; readonly pins: Uint8Array };
}

const situation: fc.Arbitrary<Situation> = fc.integer({ min: 1, max: 24 }).chain((cells) =>
  fc.record({
    cache: fc.record({
      cells: fc.constant(cells),
      keyDim: fc.constant(4),
      layers: fc.constantFrom([{ kvHeads: 2 }], [{ kvHeads: 1 }, { kvHeads: 3, rope: null }]),
      positions: fc.constantFrom("dense" as const, "gaps" as const),
      firstPosition: fc.nat(50),
    }),
    request: fc.record({
      ratio: fc.double({ min: 1, max: cells, noNaN: true }),
      range: fc
        .tuple(fc.nat(cells), fc.nat(cells))
        .map(([a, b]) => ({ from: Math.min(a, b), to: Math.max(a, b) })),
      pins: fc
        .array(fc.constantFrom(0, 0, 0, 0, 1, 2, 3), { minLength: cells, maxLength: cells })
        .map((levels) => Uint8Array.from(levels)),
    }),
  }),
);

/** The plan, or null where pins or cells outside the range leave no room. */
async function planFor(expression: string, { cache, request }: Situation): Promise<PlanResult | null> {
  try {
    return await planOn(await resolveStrategy(expression, registry), cache, request);
  } catch (error) {
    if (isKvfoldError(error) && error.code === "KVFOLD_BUDGET") return null;
    throw error;
  }
}

/** Cells that must come out as they went in. */
function staying({ view, context }: PlanResult): Uint8Array {
  const { from, to } = context.range;
  return Uint8Array.from({ length: view.shape.cells }, (_, cell) =>
    cell < from || cell >= to ? 3 : (context.pins?.[cell] ?? 0),
  );
}

const EXPRESSIONS = [
  "sum",
  "mean",
  "head-pick",
  "ngram-pairs",
  "evict(sinks=1,recent=1)",
  "evict(by=max(knorm,surprise),per=shared,sinks=0,recent=0)",
  "pin(sinks=2,recent=1,level=key) > mean",
  "self-extend(factor=3,window=2) > evict(per=shared,sinks=0,recent=0)",
];

it.each(EXPRESSIONS)("%s: valid, kept, counted, repeatable", async (expression) => {
  let planned = 0;
  await fc.assert(
    fc.asyncProperty(situation, async (one) => {
      const result = await planFor(expression, one);
      if (result === null) return;
      planned += 1;
      const { plan, view, context } = result;
      checkPlan({ ...plan, pins: staying(result) }, view);
      expect(plan.rows).toBeLessThanOrEqual(view.shape.cells);
      if (context.target >= view.shape.cells) expect(plan.rows).toBe(view.shape.cells);
      const again = await planFor(expression, one);
      expect(hashPlan(again!.plan)).toBe(hashPlan(plan));
    }),
    { seed: SEED, numRuns: 150 },
  );
  expect(planned).toBeGreaterThan(50);
});

it.each(["sum", "mean", "head-pick"])(
  "%s: meets the target when nothing but the range holds it back",
  async (name) => {
    await fc.assert(
      fc.asyncProperty(situation, async ({ cache, request: { pins: _pins, ...request } }) => {
        const result = await planFor(name, {
          cache,
          request: { ...request, pins: new Uint8Array(cache.cells!) },
        });
        if (result === null) return;
        expect(result.plan.rows).toBeLessThanOrEqual(result.context.target);
        expect(result.plan.dropped).toBe(0);
      }),
      { seed: SEED, numRuns: 150 },
    );
  },
);

/** Cells of each layer and head; of a shared plan the same for all. */
function cellsByHead(plan: MergePlan): number[][] {
  const stretch = plan.layout === "shared" ? plan.members.length : plan.rows;
  return Array.from({ length: plan.members.length / stretch }, (_, head) =>
    [...plan.members.subarray(head * stretch, (head + 1) * stretch)].sort((a, b) => a - b),
  );
}

it.each(["head", "shared"])("evict per %s: exactly the target, no better cell dropped", async (per) => {
  await fc.assert(
    fc.asyncProperty(situation, fc.nat(3), async (one, neighbours) => {
      const expression = `evict(by=surprise,per=${per},sinks=0,recent=0,neighbours=${neighbours})`;
      const result = await planFor(expression, one);
      if (result === null) return;
      const { plan, view, context } = result;
      const { cells } = view.shape;
      const stay = staying(result);
      stay[cells - 1] = 3;
      const free = [...view.positions.keys()].filter((cell) => stay[cell] === 0);
      expect(plan.rows).toBe(free.length === 0 ? cells : Math.min(cells, context.target));
      const surprise = view.signals.tokenLogProbs!.map((logProb) => -logProb);
      // the scorer takes the largest of three, evict the largest of those within its distance
      const reach = 1 + neighbours;
      const pooled = surprise.map((_, i) =>
        Math.max(...surprise.slice(Math.max(0, i - reach), i + reach + 1)),
      );
      for (const kept of cellsByHead(plan)) {
        const dropped = free.filter((cell) => !kept.includes(cell));
        const chosen = free.filter((cell) => kept.includes(cell));
        const worstKept = Math.min(...chosen.map((cell) => pooled[cell]!));
        for (const cell of dropped) expect(pooled[cell]).toBeLessThanOrEqual(worstKept);
      }
    }),
    { seed: SEED, numRuns: 150 },
  );
});
