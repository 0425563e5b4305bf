/** The cache in memory as an engine: leases, generations, all or nothing. */
import { describe, expect, it } from "vitest";
import { codeOf, rejectedCode, smallCache, smallLayer, snapshot } from "../test/small-cache.js";
import { KvfoldError } from "./errors.js";
import type { Executor, MemoryTarget } from "./executor.js";
import { sharedPlan } from "./plan/builder.js";
import { identityPlan, keepPlan } from "./plan/keep.js";
import { createReferenceExecutor, referenceExecutor } from "./reference/executor.js";

const metadata = {
  counts: Uint32Array.of(1, 1, 2, 1, 1, 3, 1, 1),
  tokens: Int32Array.of(10, 11, -1, 13, 14, -1, 16, 17),
  tokenLogProbs: Float32Array.of(-1, -2, Number.NaN, -4, -5, Number.NaN, -7, -8),
  bias: Float32Array.of(0, 0, 0.5, 0, 0, 1, 0, 0),
};

describe("views", () => {
  it("hand out the floats that went in, whatever the frame of storage", async () => {
    const hadamard = { key: 32, value: 32 };
    const plain = await smallCache({ seed: 3 }).lease();
    const rotated = await smallCache({ seed: 3, layers: [smallLayer({ hadamard })] }).lease();
    const [want, got] = [await plain.values(0), await rotated.values(0)];
    // a store in the Hadamard basis: 32 roundings of f32 numbers below sqrt(32), spread over each other
    got.forEach((value, i) => {
      expect(Math.abs(value - want[i]!)).toBeLessThan(32 * 2 ** -24);
    });
  });

  it("undo rotations with the source map", async () => {
    const keys = [new Float32Array(2 * 2 * 32)];
    // one pair turned by positions 3 and 5 in head 0, by 4 and 6 in head 1
    const sources = [Int32Array.of(3, 5, 4, 6)];
    [3, 5, 4, 6].forEach((position, i) => {
      keys[0]![i * 32] = Math.cos(position);
      keys[0]![i * 32 + 16] = Math.sin(position);
    });
    const view = await smallCache({ positions: Int32Array.of(8, 9), keys, sources }).lease();
    const unrotated = await view.keys(0, "unrotated");
    for (let i = 0; i < 4; i++) {
      expect(unrotated[i * 32]).toBeCloseTo(1, 6);
      expect(unrotated[i * 32 + 16]).toBeCloseTo(0, 6);
    }
    expect(view.sources(0)).toEqual(sources[0]);
  });

  it("cannot be used to write into the cache", async () => {
    const cache = smallCache(metadata);
    const view = await cache.lease();
    for (const array of [view.positions, view.counts, view.bias!, view.tokens!]) array.fill(7);
    (await view.keys(0, "stored")).fill(7);
    view.release();
    const again = await cache.lease();
    expect([again.counts, again.bias, again.tokens]).toEqual([
      metadata.counts,
      metadata.bias,
      metadata.tokens,
    ]);
    expect((await again.keys(0, "stored"))[0]).not.toBe(7);
  });

  it("know their layers", async () => {
    const view = await smallCache().lease();
    expect(await rejectedCode(view.keys(1, "stored"))).toBe("KVFOLD_ARGUMENT");
    expect(await rejectedCode(view.values(-1))).toBe("KVFOLD_ARGUMENT");
  });
});

describe("leases", () => {
  it("are one at a time, and released once", async () => {
    const cache = smallCache();
    const first = await cache.lease();
    expect(await rejectedCode(cache.lease())).toBe("KVFOLD_CACHE_BUSY");
    first.release();
    const second = await cache.lease();
    // an old lease cannot release a new one
    first.release();
    expect(await rejectedCode(cache.lease())).toBe("KVFOLD_CACHE_BUSY");
    second.release();
  });

  it("go stale with the fold that they were taken for", async () => {
    const cache = smallCache();
    const lease = await cache.lease();
    const plan = keepPlan(lease, [0, 7]);
    await cache.apply(lease, plan);
    expect(await rejectedCode(lease.keys(0, "stored"))).toBe("KVFOLD_VIEW_STALE");
    expect(await rejectedCode(cache.apply(lease, plan))).toBe("KVFOLD_VIEW_STALE");
    lease.release();
    expect((await cache.lease()).generation).toBe(lease.generation + 1);
  });

  it("only open their own cache, and only while they are held", async () => {
    const [cache, other] = [smallCache(), smallCache()];
    const [lease, stranger] = [await cache.lease(), await other.lease()];
    expect(await rejectedCode(cache.apply(stranger, identityPlan(stranger)))).toBe("KVFOLD_VIEW_STALE");
    lease.release();
    expect(await rejectedCode(cache.apply(lease, identityPlan(lease)))).toBe("KVFOLD_VIEW_STALE");
  });

  it("need a cell", async () => {
    const cache = smallCache({ positions: new Int32Array(0), capacity: 4 });
    expect(await rejectedCode(cache.lease())).toBe("KVFOLD_CACHE_EMPTY");
  });
});

describe("apply", () => {
  it("carries all metadata over, packs the cells, and reports the bytes", async () => {
    const cache = smallCache({
      ...metadata,
      slots: Uint32Array.of(3, 9, 0, 12, 5, 7, 14, 2),
      reserved: Uint32Array.of(1),
    });
    const lease = await cache.lease();
    const rows = [
      { members: [0], position: 0 },
      { members: [1, 2], position: 2, bias: 1 },
      { members: [5], position: 5 },
    ];
    const report = await cache.apply(lease, sharedPlan(lease, rows));
    lease.release();
    // 5 cells of 2 heads, 32 + 32 channels, 4 bytes
    expect(report.bytesFreed).toBe(5 * 2 * 64 * 4);
    const view = await cache.lease();
    expect(cache.memory().slots).toEqual(Uint32Array.of(0, 2, 3));
    expect(view.positions).toEqual(Int32Array.of(0, 2, 5));
    expect(view.counts).toEqual(Uint32Array.of(1, 3, 3));
    expect(view.bias).toEqual(Float32Array.of(0, 1, 1));
    expect(view.tokens).toEqual(Int32Array.of(10, -1, -1));
    expect(view.signals.tokenLogProbs).toEqual(Float32Array.of(-1, Number.NaN, Number.NaN));
    expect([cache.tokensSeen, cache.shape.cells]).toEqual([11, 3]);
  });

  it("folds a folded cache again", async () => {
    const cache = smallCache();
    for (const kept of [[0, 2, 4, 6, 7], [0, 3, 4], [2]]) {
      const lease = await cache.lease();
      await cache.apply(lease, keepPlan(lease, kept));
      lease.release();
    }
    expect((await cache.lease()).positions).toEqual(Int32Array.of(7));
  });

  it("changes nothing for an invalid plan", async () => {
    const cache = smallCache();
    const [before, lease] = [snapshot(cache), await cache.lease()];
    const plan = { ...keepPlan(lease, [0, 7]), dropped: 0 };
    expect(await rejectedCode(cache.apply(lease, plan))).toBe("KVFOLD_PLAN_COUNTS");
    expect(snapshot(cache)).toEqual(before);
    // the lease is still good
    await cache.apply(lease, keepPlan(lease, [0, 7]));
  });

  it.each(["prepare", "commit"] as const)(
    "is undone when %s fails, and can be tried again",
    async (phase) => {
      let fail = true;
      const executor = createReferenceExecutor({
        fault: (step) => {
          if (fail && step.phase === phase && step.row === 2)
            throw new KvfoldError("KVFOLD_FAULT", "injected");
        },
      });
      const cache = smallCache({ executor });
      const [before, lease] = [snapshot(cache), await cache.lease()];
      const plan = sharedPlan(lease, [
        { members: [0, 1], position: 1 },
        { members: [7], position: 7 },
      ]);
      expect(await rejectedCode(cache.apply(lease, plan))).toBe("KVFOLD_FAULT");
      expect(snapshot(cache)).toEqual(before);
      expect([cache.shape.cells, lease.generation]).toEqual([8, 0]);
      fail = false;
      await cache.apply(lease, plan);
      expect(cache.shape.cells).toBe(2);
    },
  );

  it("refuses to go on when a failed fold could not be undone", async () => {
    const fault = ({ phase, row }: { phase: string; row: number }): void => {
      if (phase === "rollback" || (phase === "commit" && row === 1))
        throw new KvfoldError("KVFOLD_FAULT", "injected");
    };
    const cache = smallCache({ executor: createReferenceExecutor({ fault }) });
    const lease = await cache.lease();
    expect(await rejectedCode(cache.apply(lease, keepPlan(lease, [0, 6, 7])))).toBe("KVFOLD_INTERNAL");
    lease.release();
    expect(await rejectedCode(cache.lease())).toBe("KVFOLD_INTERNAL");
  });

  it("is one at a time, and holds the cache meanwhile", async () => {
    const cache = smallCache();
    const lease = await cache.lease();
    const work = cache.apply(lease, keepPlan(lease, [0, 7]));
    expect(await rejectedCode(cache.apply(lease, identityPlan(lease)))).toBe("KVFOLD_CACHE_BUSY");
    lease.release();
    expect(await rejectedCode(cache.lease())).toBe("KVFOLD_CACHE_BUSY");
    await work;
    expect((await cache.lease()).shape.cells).toBe(2);
  });

  it("stops when cancelled, and leaves everything", async () => {
    const cache = smallCache();
    const [before, lease] = [snapshot(cache), await cache.lease()];
    const cancelled = cache.apply(lease, keepPlan(lease, [7]), { signal: AbortSignal.abort() });
    expect(await rejectedCode(cancelled)).toBe("KVFOLD_ABORTED");
    expect(snapshot(cache)).toEqual(before);
  });

  it("asks the executor first", async () => {
    const executor: Executor<MemoryTarget> = { ...referenceExecutor, supports: () => "not on a Sunday" };
    const cache = smallCache({ executor });
    const lease = await cache.lease();
    expect(await rejectedCode(cache.apply(lease, identityPlan(lease)))).toBe("KVFOLD_UNSUPPORTED");
  });
});

describe("createMemoryCache", () => {
  it.each<[string, Parameters<typeof smallCache>[0], string]>([
    ["too small a capacity", { capacity: 7 }, "KVFOLD_ARGUMENT"],
    ["a capacity that cannot be had", { capacity: 2 ** 32 }, "KVFOLD_ARGUMENT"],
    ["a capacity that is no number", { capacity: Number.NaN }, "KVFOLD_ARGUMENT"],
    ["keys of another size", { keys: [new Float32Array(5)] }, "KVFOLD_ARGUMENT"],
    ["raw values of another size", { values: [new Uint8Array(5)] }, "KVFOLD_ARGUMENT"],
    ["keys of another number of layers", { keys: [] }, "KVFOLD_ARGUMENT"],
    ["source maps of another number of layers", { sources: [] }, "KVFOLD_ARGUMENT"],
    ["a short source map", { sources: [new Int32Array(2)] }, "KVFOLD_ARGUMENT"],
    ["positions that fall", { positions: Int32Array.of(1, 0) }, "KVFOLD_ARGUMENT"],
    ["a negative position", { positions: Int32Array.of(-1, 0) }, "KVFOLD_ARGUMENT"],
    ["counts of another length", { counts: new Uint32Array(3) }, "KVFOLD_ARGUMENT"],
    ["a cell without tokens", { counts: new Uint32Array(8) }, "KVFOLD_ARGUMENT"],
    ["a bias that is NaN", { bias: new Float32Array(8).fill(Number.NaN) }, "KVFOLD_ARGUMENT"],
    ["a slot that is reserved", { reserved: Uint32Array.of(3) }, "KVFOLD_ARGUMENT"],
    ["a slot twice", { slots: new Uint32Array(8) }, "KVFOLD_ARGUMENT"],
    ["half a block", { layers: [smallLayer({ keyType: "q8_0", keyDim: 48 })] }, "KVFOLD_UNSUPPORTED"],
  ])("refuses %s", (_what, options, code) => {
    expect(codeOf(() => smallCache(options))).toBe(code);
  });

  it("takes raw bytes as they are", async () => {
    const first = smallCache({ layers: [smallLayer({ keyType: "q8_0" })] });
    const { keys, values } = first.memory();
    const second = smallCache({ layers: [smallLayer({ keyType: "q8_0" })], keys, values });
    expect(snapshot(second)).toEqual(snapshot(first));
    expect(second.memory().keys[0]).not.toBe(keys[0]);
  });
});
