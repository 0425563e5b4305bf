/** What refit is for: attention over the folded cache answers queries it has not seen better than the same cells do. */
import { type CompositePlan, type DType, fold, type MemoryCache } from "@kvfold/core";
import { describe, expect, it } from "vitest";
import { type RefitOptions, refit } from "../src/index.js";
import { outputError, readOnlyValues, topics } from "./topics.js";

const CELLS = 192;
const SAMPLES = 256;
const OPTIONS: Partial<RefitOptions> = { sinks: 2, recent: 12 };

/** Fitted values leave at least a quarter less of the error: the lab saw half and more, on a real model. */
const AT_MOST = 0.75;

interface Folded {
  readonly error: number;
  readonly plan: CompositePlan;
  readonly cache: MemoryCache;
  readonly valuesBefore: readonly Float32Array[];
}

/** Folds the cache of one seed, and asks it queries that the fit has not seen. */
async function folded(
  seed: number,
  ratios: readonly number[],
  options: Partial<RefitOptions>,
  type: DType = "f32",
): Promise<Folded> {
  const world = topics(seed);
  const make = (): MemoryCache => world.cache(CELLS, type, world.queries(seed + 1, SAMPLES, CELLS));
  const before = await make().lease();
  const valuesBefore = await Promise.all(before.shape.layers.map((_, layer) => before.values(layer)));
  const cache = make();
  let plan: CompositePlan | undefined;
  for (const ratio of ratios) {
    const report = await fold(cache, { strategy: refit({ ...OPTIONS, ...options }), keep: { ratio } });
    plan = report.plan as CompositePlan;
  }
  const lease = await cache.lease();
  const error = await outputError(before, lease, world.queries(seed + 2, 64, CELLS));
  lease.release();
  return { error, plan: plan!, cache, valuesBefore };
}

describe("refit lowers the error of unseen queries", () => {
  it.each([
    [3, "f32"],
    [4, "f16"],
    [5, "q8_0"],
  ] as const)("of seed %i, %s, against the same cells with their own values", async (seed, type) => {
    for (const ratio of [2, 4]) {
      const fitted = await folded(seed, [ratio], {}, type);
      const plain = await folded(seed, [ratio], { fit: false }, type);
      expect(fitted.plan.members).toEqual(plain.plan.members);
      expect(fitted.error).toBeLessThan(AT_MOST * plain.error);
    }
  });

  it("fold after fold", async () => {
    const fitted = await folded(6, [2, 4], {});
    const plain = await folded(6, [2, 4], { fit: false });
    expect(fitted.plan.cells).toBeLessThan(CELLS);
    expect(fitted.error).toBeLessThan(AT_MOST * plain.error);
  });

  it("less well without sinks and newest cells, whose values then stay", async () => {
    const all = await folded(7, [4], {});
    const without = await folded(7, [4], { fitWindow: false });
    const plain = await folded(7, [4], { fit: false });
    expect(all.error).toBeLessThan(without.error);
    expect(without.error).toBeLessThan(plain.error);
  });
});

it("writes to no row that is not free", async () => {
  const { cache, plan, valuesBefore } = await folded(8, [4], { pinRidge: 0 });
  const { kept, now } = await readOnlyValues(valuesBefore, await cache.lease(), plan);
  expect(kept.length).toBeGreaterThan(0);
  expect(now).toEqual(kept);
});

it("holds what stands out", async () => {
  const moved = async (pinRidge: number): Promise<number> => {
    const { cache, plan, valuesBefore } = await folded(9, [2], { pinRidge });
    const marked = plan.fit!.free.map((factor) => (factor > 1 ? 0 : 1));
    const { kept, now } = await readOnlyValues(valuesBefore, await cache.lease(), {
      ...plan,
      fit: { ...plan.fit!, free: marked },
    });
    return Math.hypot(...now.map((value, i) => value - kept[i]!));
  };
  const [loose, held] = [await moved(2), await moved(200)];
  expect(loose).toBeGreaterThan(0);
  expect(held).toBeLessThan(loose / 3);
});
