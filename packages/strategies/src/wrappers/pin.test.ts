/** pin: what stays, what it costs, and who breaks it. */
import {
  defineStrategy,
  fold,
  keepPlan,
  type MergeStrategy,
  PIN_LEVEL,
  type PlanContext,
  sharedPlan,
} from "@kvfold/core";
import { describe, expect, it, vi } from "vitest";
import { draw, pinsOf, tinyCache, tinyContext, tinyView } from "../../test/tiny.js";
import { evict } from "../evict.js";
import { mean } from "../mean.js";
import { pin } from "./pin.js";

const strategyOf = (plan: MergeStrategy["plan"], scope: MergeStrategy["scope"] = "all"): MergeStrategy =>
  defineStrategy({ name: "inner", summary: "", scope, create: () => ({ plan }) })();

/** The pins that the strategy inside is told of. */
async function pinsInside(
  options: Parameters<typeof pin>[1],
  given: Partial<PlanContext> = {},
): Promise<string> {
  const plan = vi.fn<MergeStrategy["plan"]>((view) => keepPlan(view, [...view.positions.keys()]));
  await pin(strategyOf(plan), options).plan(await tinyView({ cells: 8 }), tinyContext(8, given));
  return plan.mock.calls[0]![1].pins!.join(" ");
}

describe("pin", () => {
  it("tells the strategy inside which cells must stay", async () => {
    expect(await pinsInside({ sinks: 1, recent: 2 })).toBe("3 0 0 0 0 0 3 3");
    expect(await pinsInside({ sinks: 0, recent: 0, positions: [2, 5, 99], level: "key" })).toBe(
      "0 0 2 0 0 2 0 0",
    );
    expect(
      await pinsInside({ sinks: 1, recent: 1, level: "absorb" }, { pins: pinsOf("2 0 3 0 0 0 0 0") }),
    ).toBe("2 0 3 0 0 0 0 1");
    expect(await pinsInside({})).toBe("3 3 3 3 3 3 3 3");
  });

  it("keeps sinks and newest cells out of a mean, within the target", async () => {
    const strategy = pin(mean(), { sinks: 2, recent: 2 });
    const view = await tinyView({ cells: 12 });
    const plan = await strategy.plan(view, tinyContext(12, { ratio: 2 }));
    // 6 rows, 4 of them pins: 12 positions into 2
    expect(draw(plan)).toBe("a@0 [cdef]@0 b@1 [ghij]@1 k@10 l@11");
    expect([...plan.pins!]).toEqual([3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 3, 3]);
    expect(strategy.expression).toBe("pin(sinks=2,recent=2) > mean");
    expect(strategy.scope).toBe("new");
  });

  it("nests, and the higher level wins", async () => {
    const strategy = pin(pin(mean(), { sinks: 1, recent: 0, level: "exact" }), {
      sinks: 2,
      recent: 1,
      level: "absorb",
    });
    const plan = await strategy.plan(await tinyView({ cells: 8 }), tinyContext(8, { ratio: 2 }));
    expect([...plan.pins!]).toEqual([3, 1, 0, 0, 0, 0, 0, 1]);
  });

  it("works around eviction", async () => {
    const cache = tinyCache({ cells: 8, heads: [2] });
    const strategy = pin(evict({ sinks: 1, recent: 1 }), { sinks: 0, recent: 0, positions: [4] });
    const { plan } = await fold(cache, { strategy, keep: { cells: 4 } });
    for (const head of draw(plan).split(" ")) expect(head).toMatch(/^ae.h$/);
    expect([...plan.pins!]).toEqual([3, 0, 0, 0, 3, 0, 0, 3]);
  });
});

describe("pin names", () => {
  it("the largest ratio when the pins alone are too many", async () => {
    // scope new: half of the 20 cells outside the range stay, 4 of the 10 inside are pinned
    const range = { from: 0, to: 10 };
    const strategy = pin(mean(), { sinks: 4, recent: 8 });
    const refused = fold(tinyCache({ cells: 20 }), { strategy, keep: { ratio: 5 }, range });
    await expect(refused).rejects.toMatchObject({
      code: "KVFOLD_BUDGET",
      who: "pin",
      what: "14 cells are pinned or lie outside the range, but only 12 may stay",
      hint: "pin fewer cells, or use a ratio of at most 2.5",
    });
    await expect(
      fold(tinyCache({ cells: 20 }), { strategy, keep: { ratio: 2.5 }, range }),
    ).resolves.toBeDefined();
  });

  it("no ratio where none works", async () => {
    const strategy = pin(mean(), { sinks: 4, recent: 4 });
    await expect(fold(tinyCache({ cells: 8 }), { strategy, keep: { ratio: 2 } })).rejects.toMatchObject({
      code: "KVFOLD_BUDGET",
      hint: "pin fewer cells",
    });
  });

  it("a strategy that ignores the pins", async () => {
    const dropping = strategyOf((view) => keepPlan(view, [4, 5, 6, 7]));
    const merging = strategyOf((view) =>
      sharedPlan(
        view,
        [0, 2, 4, 6].map((cell) => ({ members: [cell, cell + 1], position: cell })),
      ),
    );
    for (const inner of [dropping, merging]) {
      const folding = fold(tinyCache({ cells: 8 }), {
        strategy: pin(inner, { sinks: 1, recent: 1 }),
        keep: { ratio: 2 },
      });
      await expect(folding).rejects.toMatchObject({ code: "KVFOLD_PLAN_PIN", who: "inner" });
    }
  });

  it("a strategy that lowers a pin", async () => {
    const lowering = strategyOf((view) => ({
      ...keepPlan(view, [1, 7]),
      pins: new Uint8Array(8).fill(PIN_LEVEL.none),
    }));
    const folding = fold(tinyCache({ cells: 8 }), {
      strategy: pin(lowering, { sinks: 1, recent: 0 }),
      keep: { ratio: 2 },
    });
    await expect(folding).rejects.toMatchObject({ code: "KVFOLD_PLAN_PIN" });
  });

  it.each([
    [{ sinks: -1 }, /expected at least 0/],
    [{ recent: 2 ** 31 }, /expected at most/],
    [{ positions: 5 }, /expected a list/],
    [{ positions: [1.5] }, /expected a whole number/],
    [{ level: "hard" }, /expected exact, key or absorb/],
  ])("the option that is wrong: %j", (options, message) => {
    expect(() => pin(mean(), options as never)).toThrow(message);
  });
});
