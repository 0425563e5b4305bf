/** fold(): nothing happens when something is wrong, whoever is to blame, and the lease is given back. */
import { describe, expect, it } from "vitest";
import { bytes, firstCells, newCache, strategyOf } from "../test/fold-probe.js";
import type { KvCache } from "./cache.js";
import { KvfoldError } from "./errors.js";
import { type FoldOptions, fold } from "./fold.js";
import type { MemoryCache } from "./memory-cache.js";
import { identityPlan, keepPlan } from "./plan/keep.js";
import type { MergePlan } from "./plan/plan.js";

/** The code of what is thrown; and the cache is as it was, and free. */
async function refused(cache: MemoryCache, options: FoldOptions): Promise<KvfoldError> {
  const before = bytes(cache);
  const error = await fold(cache, options).catch((caught: unknown) => caught);
  expect(error).toBeInstanceOf(KvfoldError);
  expect(bytes(cache)).toBe(before);
  (await cache.lease()).release();
  return error as KvfoldError;
}

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
