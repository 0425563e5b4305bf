/** self-extend: which rows move, where to, and what cannot. */
import {
  defineStrategy,
  fold,
  type MergePlan,
  type MergeStrategy,
  type PlanContext,
  type SharedPlan,
} from "@kvfold/core";
import { describe, expect, it } from "vitest";
import { draw, pinsOf, type TinyOptions, tinyCache, tinyContext, tinyView } from "../../test/tiny.js";
import { evict } from "../evict.js";
import { headPick } from "../head-pick.js";
import { mergeGroups } from "../parts/merge.js";
import { meanWeigher } from "../parts/weigher.js";
import { type SelfExtendOptions, selfExtend } from "./self-extend.js";

/** Merges only the given groups, at the position of their last cell, keys as they lie. */
const merging = (...groups: number[][]): MergeStrategy =>
  defineStrategy({
    name: "merging",
    summary: "",
    create: () => ({
      plan: (view, context) =>
        mergeGroups(
          view,
          context,
          groups.map((members) => ({ members, position: view.positions[members.at(-1)!]! })),
          {
            name: "merging",
            weigher: meanWeigher,
            keyFrame: "stored",
            bias: (members) => Math.log(members.length),
          },
        ),
    }),
  })();

const planOf = async (
  inner: MergeStrategy,
  options: Partial<SelfExtendOptions>,
  given: Partial<PlanContext> = {},
  cache: Partial<TinyOptions> = {},
): Promise<MergePlan> => {
  const view = await tinyView({ cells: 10, ...cache });
  return selfExtend(inner, options).plan(view, tinyContext(10, { target: 9, ...given }));
};

describe("self-extend", () => {
  it("divides old positions, and keeps the distances of the newest", async () => {
    const plan = (await planOf(merging(), { factor: 2, window: 4 })) as SharedPlan;
    expect(draw(plan)).toBe("a@0 b@0 c@1 d@1 e@2 f@2 g@3 h@4 i@5 j@6");
    expect(plan.keyFrame).toBe("target");
  });

  it("moves merged rows as one, with their weights, counts and bias", async () => {
    const plan = (await planOf(merging([1, 2, 3], [8, 9]), { factor: 3, window: 2 })) as SharedPlan;
    // the last row stands at 9: the window begins at 8
    expect(draw(plan)).toBe("a@0 [bcd]@1 e@1 f@1 g@2 h@2 [ij]@3");
    expect([...plan.counts]).toEqual([1, 3, 1, 1, 1, 1, 2]);
    expect([...plan.bias!]).toEqual([0, Math.fround(Math.log(3)), 0, 0, 0, 0, Math.fround(Math.LN2)]);
    expect([...plan.valueWeights.data].filter((weight) => weight === 0.5)).toHaveLength(2);
  });

  it("counts from the first position of the range and leaves the rest alone", async () => {
    const range = { from: 4, to: 8 };
    expect(draw(await planOf(merging(), { factor: 2, window: 0 }, { range }))).toBe(
      "a@0 b@1 c@2 d@3 e@4 f@4 g@5 h@5 i@8 j@9",
    );
  });

  it("sorts rows anew where a pinned cell stays behind", async () => {
    const plan = await planOf(merging(), { factor: 4, window: 0 }, { pins: pinsOf("3 3 0 0 2 0 0 0 1 0") });
    expect(draw(plan)).toBe("a@0 c@0 d@0 b@1 f@1 g@1 h@1 i@2 j@2 e@4");
    expect((plan as SharedPlan).bias).toBeNull();
  });

  it("keeps weights of every head with their members", async () => {
    const inner = headPick();
    const given = { ratio: 2, target: 7, pins: pinsOf("3 0 0 0 0 0 0 0 3 0") };
    const before = (await inner.plan(
      await tinyView({ cells: 10, heads: [2] }),
      tinyContext(10, given),
    )) as SharedPlan;
    const after = (await planOf(inner, { factor: 3, window: 0 }, given, { heads: [2] })) as SharedPlan;
    expect(draw(before)).not.toBe(draw(after));
    const weightOf = (plan: SharedPlan, head: number, cell: number): number =>
      plan.keyWeights.data[head * plan.members.length + plan.members.indexOf(cell)]!;
    for (const head of [0, 1]) {
      for (let cell = 0; cell < 10; cell++)
        expect(weightOf(after, head, cell)).toBe(weightOf(before, head, cell));
    }
  });

  it.each([
    ["a factor of 1", { factor: 1 }, {}],
    ["a window as long as the text", { factor: 4, window: 10 }, {}],
    ["nothing to fold", { factor: 4, window: 0 }, { target: 10 }],
  ])("changes nothing with %s", async (_what, options, given) => {
    const plan = (await planOf(merging(), options, given)) as SharedPlan;
    expect(draw(plan)).toBe("a@0 b@1 c@2 d@3 e@4 f@5 g@6 h@7 i@8 j@9");
    expect(plan.keyFrame).toBe("stored");
  });

  it("cannot turn the keys of a composite plan", async () => {
    const strategy = selfExtend(evict({ sinks: 0, recent: 0 }));
    expect(strategy.expression).toBe("self-extend > evict(by=keydiff,per=head,sinks=0,recent=0)");
    const folding = fold(tinyCache({ cells: 10 }), { strategy, keep: { ratio: 2 } });
    await expect(folding).rejects.toMatchObject({ code: "KVFOLD_PLAN_COMPOSE", who: "self-extend" });
  });

  it("refuses to turn cells outside the range that hold keys of other positions", async () => {
    const sources = [Int32Array.of(0, 1, 2, 3, 4, 5, 6, 7, 8, 5)];
    const options = { factor: 2, window: 0 };
    const planning = planOf(merging(), options, { range: { from: 0, to: 9 } }, { sources });
    await expect(planning).rejects.toMatchObject({ code: "KVFOLD_NOT_APPLICABLE" });
    await expect(planOf(merging(), options, {}, { sources })).resolves.toBeDefined();
  });

  it("folds a live cache, which goes on behind the squeezed positions", async () => {
    const cache = tinyCache({ cells: 16 });
    const strategy = selfExtend(merging([0, 1]), { factor: 4, window: 4 });
    await fold(cache, { strategy, keep: { cells: 15 } });
    expect([...cache.memory().positions]).toEqual([0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 4, 5, 6]);
  });
});
