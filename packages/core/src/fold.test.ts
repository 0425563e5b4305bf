/** fold(): all of it or nothing, whatever goes wrong and whoever is to blame. */
import { describe, expect, it, vi } from "vitest";
import type { KvCache } from "./cache.js";
import { KvfoldError } from "./errors.js";
import { type FoldOptions, fold } from "./fold.js";
import { createMemoryCache, type MemoryCache, type MemoryCacheOptions } from "./memory-cache.js";
import { sharedPlan } from "./plan/builder.js";
import { compositePlan, identityPlan, keepPlan } from "./plan/keep.js";
import type { MergePlan } from "./plan/plan.js";
import type { LayerShape } from "./shape.js";
import { defineStrategy, type MergeStrategy, type PlanContext, type StrategyDefinition } from "./strategy.js";

const CELLS = 8;
const LAYER: LayerShape = {
  layer: 0,
  kvHeads: 2,
  queryHeads: 2,
  keyDim: 4,
  valueDim: 4,
  keyType: "f32",
  valueType: "f32",
  valueLayout: "rows",
  rope: { pairing: "half", dims: 4, frequencies: Float64Array.of(1, 0.1) },
  hadamard: { key: 0, value: 0 },
  window: null,
};

/** Element i of cell c is c + i / 10. */
const floats = (): Float32Array =>
  Float32Array.from({ length: 2 * CELLS * 4 }, (_, i) => (Math.floor(i / 4) % CELLS) + (i % 4) / 10);
const newCache = (options: Partial<MemoryCacheOptions> = {}): MemoryCache =>
  createMemoryCache({
    layers: [LAYER],
    capacity: CELLS,
    keys: [floats()],
    values: [floats()],
    positions: Int32Array.from({ length: CELLS }, (_, cell) => cell),
    ...options,
  });

const strategyOf = (
  plan: MergeStrategy["plan"],
  more: Partial<Omit<StrategyDefinition<Record<never, never>>, "create">> & {
    appliesTo?: MergeStrategy["appliesTo"];
  } = {},
): MergeStrategy => {
  const { appliesTo = () => true as const, ...definition } = more;
  return defineStrategy({ name: "probe", summary: "", ...definition, create: () => ({ plan, appliesTo }) })();
};
const firstCells = strategyOf((view, { target }) =>
  keepPlan(
    view,
    Array.from({ length: target }, (_, cell) => cell),
  ),
);

const bytes = (cache: MemoryCache): string => {
  const { keys, values, positions, slots } = cache.memory();
  return JSON.stringify([...keys, ...values, positions, slots].map((array) => [...array]));
};

/** The code of what is thrown; and the cache is as it was, and free. */
async function refused(cache: MemoryCache, options: FoldOptions): Promise<KvfoldError> {
  const before = bytes(cache);
  const error = await fold(cache, options).catch((caught: unknown) => caught);
  expect(error).toBeInstanceOf(KvfoldError);
  expect(bytes(cache)).toBe(before);
  (await cache.lease()).release();
  return error as KvfoldError;
}

describe("fold", () => {
  it("applies the plan and reports what it did", async () => {
    const cache = newCache();
    const report = await fold(cache, { strategy: firstCells, keep: { ratio: 4 } });
    // a cell: 2 heads of 4 + 4 floats
    expect(report).toMatchObject({
      strategy: "probe",
      before: 8,
      after: 2,
      ratio: 4,
      bytesFreed: 6 * 64,
      changed: true,
    });
    expect(report).not.toHaveProperty("note");
    expect(report.planHash).toMatch(/^[0-9a-f]{64}$/);
    expect(Object.values(report.timings).every((time) => time >= 0)).toBe(true);
    expect(cache.shape.cells).toBe(2);
    const lease = await cache.lease();
    expect([...(await lease.values(0))].slice(0, 8)).toEqual([...floats().subarray(0, 8)]);
    lease.release();
  });

  it("hands the strategy its budget, range, operations and seed", async () => {
    const seen: PlanContext[] = [];
    const numbers: number[] = [];
    const strategy = strategyOf(
      (view, context) => {
        seen.push(context);
        numbers.push(context.random());
        return identityPlan(view);
      },
      { scope: "new" },
    );
    const cache = newCache();
    for (const seed of [7, 7, 8])
      await fold(cache, { strategy, keep: { ratio: 2 }, range: { from: 2, to: 7 }, seed });
    expect(seen[0]).toMatchObject({
      target: 3 + 3,
      ratio: 2,
      range: { from: 2, to: 7 },
      pins: null,
      ops: cache.ops,
    });
    expect(numbers[0]).toBe(numbers[1]);
    expect(numbers[0]).not.toBe(numbers[2]);
  });

  it("applies nothing in a dry run", async () => {
    const cache = newCache();
    const before = bytes(cache);
    const report = await fold(cache, { strategy: firstCells, keep: { cells: 3 }, dryRun: true });
    expect(report).toMatchObject({ before: 8, after: 3, changed: false, bytesFreed: 0 });
    expect(bytes(cache)).toBe(before);
  });

  it("leaves the cache alone when the plan keeps everything as it is", async () => {
    const apply = vi.fn();
    const cache = { ...newCache(), apply } as unknown as MemoryCache;
    const all = Uint32Array.from({ length: 2 * CELLS }, (_, i) => i % CELLS);
    for (const plan of [identityPlan, (view) => compositePlan(view, all)] satisfies MergeStrategy["plan"][]) {
      const report = await fold(cache, { strategy: strategyOf(plan), keep: { ratio: 2 } });
      expect(report).toMatchObject({
        changed: false,
        note: "nothing was folded: 8 cells stay, where 4 were asked for",
      });
    }
    expect((await fold(cache, { strategy: firstCells, keep: { ratio: 1 } })).note).toBe("nothing to fold");
    expect(apply).not.toHaveBeenCalled();
  });

  it("applies plans that keep all cells, but not as they are", async () => {
    const turned = strategyOf((view) =>
      sharedPlan(
        view,
        Array.from(view.positions, (position, cell) => ({
          members: [cell],
          position: Math.floor(position / 2),
        })),
        { keyFrame: "target" },
      ),
    );
    const cache = newCache();
    expect((await fold(cache, { strategy: turned, keep: { ratio: 1 } })).changed).toBe(true);
    expect([...cache.memory().positions]).toEqual([0, 0, 1, 1, 2, 2, 3, 3]);
  });

  it("says when the target is missed", async () => {
    const strategy = strategyOf((view) => keepPlan(view, [0, 1, 2, 3, 4]));
    const report = await fold(newCache(), { strategy, keep: { cells: 4 } });
    expect(report).toMatchObject({ after: 5, changed: true, note: "5 cells stay, where 4 were asked for" });
  });
});

describe("fold refuses", () => {
  const keep = { ratio: 2 };
  const throwing = (cause: unknown) =>
    strategyOf(() => {
      throw cause;
    });
  const badPlan = (change: (plan: MergePlan) => object) =>
    strategyOf((view) => ({ ...keepPlan(view, [0, 1]), ...change(keepPlan(view, [0, 1])) }) as MergePlan);

  it.each<[string, string, Partial<FoldOptions>]>([
    ["no strategy", "KVFOLD_ARGUMENT", { strategy: null as never }],
    ["a factory that was not called", "KVFOLD_ARGUMENT", { strategy: (() => firstCells) as never }],
    ["no budget", "KVFOLD_ARGUMENT", { keep: null as never }],
    ["a bad ratio", "KVFOLD_RATIO", { keep: { ratio: 0.5 } }],
    ["a bad seed", "KVFOLD_ARGUMENT", { seed: 0.5 }],
    ["a range beyond the cells", "KVFOLD_ARGUMENT", { range: { from: 0, to: 9 } }],
    ["a range that runs backwards", "KVFOLD_ARGUMENT", { range: { from: 5, to: 4 } }],
    ["an abort before", "KVFOLD_ABORTED", { signal: AbortSignal.abort() }],
    [
      "a strategy for other caches",
      "KVFOLD_NOT_APPLICABLE",
      { strategy: strategyOf(identityPlan, { appliesTo: () => "too round" }) },
    ],
    [
      "a missing signal",
      "KVFOLD_SIGNAL_MISSING",
      { strategy: strategyOf(identityPlan, { signals: ["tokenLogProbs"] }) },
    ],
    [
      "missing tokens",
      "KVFOLD_SIGNAL_MISSING",
      { strategy: strategyOf(identityPlan, { signals: ["tokens"] }) },
    ],
    ["a strategy that throws", "KVFOLD_STRATEGY", { strategy: throwing(new TypeError("no such thing")) }],
    ["a strategy that rejects", "KVFOLD_STRATEGY", { strategy: strategyOf(() => Promise.reject("why not")) }],
    [
      "a strategy that throws a code",
      "KVFOLD_BUDGET",
      { strategy: throwing(new KvfoldError("KVFOLD_BUDGET", "no")) },
    ],
    ["no plan", "KVFOLD_PLAN_SHAPE", { strategy: strategyOf(() => null as never) }],
    ["a plan for another cache", "KVFOLD_PLAN_SHAPE", { strategy: badPlan(() => ({ cells: 9 })) }],
    [
      "a member out of range",
      "KVFOLD_PLAN_MEMBER_RANGE",
      { strategy: badPlan(() => ({ members: Uint32Array.of(0, 8) })) },
    ],
    [
      "a cell used twice",
      "KVFOLD_PLAN_NOT_DISJOINT",
      { strategy: badPlan(() => ({ members: Uint32Array.of(1, 1) })) },
    ],
    ["lost tokens", "KVFOLD_PLAN_COUNTS", { strategy: badPlan(() => ({ dropped: 0 })) }],
  ])("%s", async (_what, code, options) => {
    const error = await refused(newCache(), { strategy: firstCells, keep, ...options });
    expect(error.code).toBe(code);
  });

  it("with the name of the strategy, and the cause", async () => {
    const cause = new TypeError("no such thing");
    const thrown = await refused(newCache(), { strategy: throwing(cause), keep });
    expect(thrown).toMatchObject({ who: "probe", cause });
    expect(thrown.what).toContain("TypeError: no such thing");
    const plan = await refused(newCache(), { strategy: badPlan(() => ({ dropped: 0 })), keep });
    expect(plan.message).toContain("[probe] the plan is wrong: ");
    const coded = await refused(newCache(), {
      strategy: throwing(new KvfoldError("KVFOLD_BUDGET", "no")),
      keep,
    });
    expect(coded.who).toBe("probe");
  });

  it("with the code of an error from another copy of this package", async () => {
    const foreign = Object.assign(new Error("long"), {
      name: "KvfoldError",
      code: "KVFOLD_BUDGET",
      what: "no room",
    });
    const error = await refused(newCache(), { strategy: throwing(foreign), keep });
    expect(error).toMatchObject({ code: "KVFOLD_BUDGET", what: "no room", who: "probe", cause: foreign });
    const fake = Object.assign(new Error("long"), { name: "KvfoldError", code: "toString", what: "no room" });
    expect((await refused(newCache(), { strategy: throwing(fake), keep })).code).toBe("KVFOLD_STRATEGY");
  });

  it("an abort while the strategy works", async () => {
    const controller = new AbortController();
    const deaf = strategyOf(async (view) => {
      controller.abort();
      return keepPlan(view, [0]);
    });
    expect((await refused(newCache(), { strategy: deaf, keep, signal: controller.signal })).code).toBe(
      "KVFOLD_ABORTED",
    );
    const other = new AbortController();
    const hearing = strategyOf(async (_view, { signal }) => {
      other.abort();
      signal.throwIfAborted();
      throw new Error("not reached");
    });
    expect((await refused(newCache(), { strategy: hearing, keep, signal: other.signal })).code).toBe(
      "KVFOLD_ABORTED",
    );
  });

  it("a cache that is leased, and leaves the lease to its owner", async () => {
    const cache = newCache();
    const lease = await cache.lease();
    await expect(fold(cache, { strategy: firstCells, keep })).rejects.toMatchObject({
      code: "KVFOLD_CACHE_BUSY",
    });
    await expect(lease.values(0)).resolves.toBeDefined();
    lease.release();
    expect((await fold(cache, { strategy: firstCells, keep })).changed).toBe(true);
  });

  it("whatever the cache throws while it applies", async () => {
    const failing = (cause: unknown): KvCache => {
      const cache = newCache();
      return {
        ...cache,
        name: "failing",
        shape: cache.shape,
        lease: cache.lease,
        apply: () => Promise.reject(cause),
      };
    };
    const coded = new KvfoldError("KVFOLD_FAULT", "injected");
    await expect(fold(failing(coded), { strategy: firstCells, keep })).rejects.toBe(coded);
    const cache = failing(new Error("lost"));
    await expect(fold(cache, { strategy: firstCells, keep })).rejects.toMatchObject({
      code: "KVFOLD_INTERNAL",
      who: "failing",
    });
    (await cache.lease()).release();
  });
});
