/** fold(): what it applies and what it reports. */
import { describe, expect, it, vi } from "vitest";
import { bytes, CELLS, firstCells, floats, newCache, strategyOf } from "../test/fold-probe.js";
import { fold } from "./fold.js";
import type { MemoryCache } from "./memory-cache.js";
import { sharedPlan } from "./plan/builder.js";
import { compositePlan, identityPlan, keepPlan } from "./plan/keep.js";
import type { MergeStrategy, PlanContext } from "./strategy.js";

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
