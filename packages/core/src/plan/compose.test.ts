/** What composes, what does not, and why. */
import { describe, expect, it } from "vitest";
import { codeOf, smallCache, smallLayer } from "../../test/small-cache.js";
import type { CacheView } from "../view.js";
import { sharedPlan } from "./builder.js";
import { checkPlanAlone } from "./check.js";
import { composePlans } from "./compose.js";
import { compositePlan, identityPlan, keepPlan } from "./keep.js";
import type { MergePlan, SharedPlan } from "./plan.js";

const view: CacheView = await smallCache({ cells: 6 }).lease();
const view4: CacheView = await smallCache({ cells: 4 }).lease();

const half = [0.5, 0.5];
const row = (members: number[], position: number, weights?: number[]) =>
  weights === undefined
    ? { members, position }
    : { members, position, keyWeights: weights, valueWeights: weights };

/** a [bc] d [ef] */
const pairs = (keyFrame: "stored" | "target"): SharedPlan =>
  sharedPlan(view, [row([0], 0), row([1, 2], 2, half), row([3], 3), row([4, 5], 5, half)], { keyFrame });
/** Counts of the second plan follow from the first; the tests are about members and weights. */
const after = (first: MergePlan): CacheView => ({
  ...view4,
  positions: first.positions,
  counts: first.counts,
});

describe("composePlans", () => {
  it("multiplies members and weights", () => {
    const first = pairs("stored");
    const plan = composePlans(
      first,
      sharedPlan(after(first), [row([0], 0), row([3, 1], 5, [2, 4])]),
    ) as SharedPlan;
    expect([...plan.offsets]).toEqual([0, 1, 5]);
    expect([...plan.members]).toEqual([0, 4, 5, 1, 2]);
    expect([...plan.keyWeights.data]).toEqual([1, 1, 1, 2, 2]);
    expect([...plan.counts]).toEqual([1, 4]);
    expect([plan.cells, plan.rows, plan.dropped]).toEqual([6, 2, 1]);
  });

  it("takes the finer scope of weights", () => {
    const layers = [smallLayer(), smallLayer()];
    const wide = { ...view, shape: { layers, cells: 6 } };
    const byHead = sharedPlan(wide, [row([0, 1], 1)], {
      headWeights: (layer, head) => ({ key: [layer, head], value: [1, 1] }),
    });
    const one = {
      ...byHead,
      cells: 1,
      offsets: Uint32Array.of(0, 1),
      members: Uint32Array.of(0),
      counts: Uint32Array.of(2),
      dropped: 0,
    };
    const byLayer: SharedPlan = {
      ...one,
      keyWeights: { scope: "layer", data: Float32Array.of(10, 100) },
      valueWeights: { scope: "all", data: Float32Array.of(3) },
    };
    const plan = composePlans(byHead, byLayer) as SharedPlan;
    expect(plan.keyWeights).toEqual({ scope: "head", data: Float32Array.of(0, 0, 0, 10, 100, 0, 100, 100) });
    expect(plan.valueWeights.data).toEqual(new Float32Array(8).fill(3));
    const foreign = { ...byLayer, keyWeights: { scope: "layer" as const, data: Float32Array.of(1, 2, 3) } };
    expect(codeOf(() => composePlans(byHead, foreign))).toBe("KVFOLD_PLAN_COMPOSE");
  });

  it("gathers composite after composite", () => {
    const first = compositePlan(view, Uint32Array.of(0, 1, 2, 5, 0, 3, 4, 5));
    const second = compositePlan(after(first), Uint32Array.of(1, 3, 2, 3));
    const plan = composePlans(first, second);
    expect([plan.layout, [...plan.members]]).toEqual(["composite", [1, 5, 4, 5]]);
  });

  it("takes a shared plan that only keeps cells on either side of a composite one", () => {
    const first = keepPlan(view, [0, 2, 4, 5]);
    const composite = compositePlan(after(first), Uint32Array.of(1, 3, 2, 3));
    expect([...composePlans(first, composite).members]).toEqual([2, 5, 4, 5]);
    const wide = compositePlan(view, Uint32Array.of(0, 1, 2, 5, 0, 3, 4, 5));
    expect([...composePlans(wide, keepPlan(after(wide), [1, 3])).members]).toEqual([1, 5, 3, 5]);
  });

  it("treats a composite plan whose heads agree as one that keeps cells", () => {
    const alike = compositePlan(view, Uint32Array.of(0, 2, 4, 5, 0, 2, 4, 5));
    const plan = composePlans(alike, sharedPlan(after(alike), [row([0, 1], 3, half)]));
    expect([plan.layout, [...plan.members]]).toEqual(["shared", [0, 2]]);
  });

  it("leaves a plan as it is next to an identity", () => {
    const first = pairs("stored");
    expect(composePlans(identityPlan(view), first)).toEqual(first);
    expect(composePlans(first, identityPlan(after(first)))).toEqual(first);
  });

  it("keeps a pin as far as both plans do", () => {
    const levels = (...cells: number[]) => Uint8Array.from(cells);
    const first = keepPlan(view, [0, 2, 4, 5], { pins: levels(3, 0, 3, 0, 1, 0) });
    const second = keepPlan(after(first), [0, 1, 2], { pins: levels(3, 1, 3, 0) });
    const plan = composePlans(first, second);
    expect(plan.pins).toEqual(levels(3, 0, 1, 0, 1, 0));
    checkPlanAlone(plan);
    expect(composePlans(first, { ...second, pins: null }).pins).toBeNull();
  });
});

describe("key frames", () => {
  it("compose when they agree", () => {
    for (const frame of ["stored", "target"] as const) {
      const first = pairs(frame);
      const second = sharedPlan(after(first), [row([1, 3], 9)], { keyFrame: frame });
      expect((composePlans(first, second) as SharedPlan).keyFrame).toBe(frame);
    }
  });

  it("`target` then `stored` needs rows that do not move", () => {
    const first = pairs("target");
    const still = sharedPlan(after(first), [row([0], 0), row([3], 5)]);
    expect((composePlans(first, still) as SharedPlan).keyFrame).toBe("target");
    const moved = sharedPlan(after(first), [row([0], 4), row([3], 5)]);
    expect(codeOf(() => composePlans(first, moved))).toBe("KVFOLD_PLAN_COMPOSE");
    // a member whose key counts nothing may come from anywhere
    const silent = sharedPlan(after(first), [row([0], 0), { ...row([1, 3], 5), keyWeights: [0, 1] }]);
    expect((composePlans(first, silent) as SharedPlan).keyFrame).toBe("target");
  });

  it("`stored` then `target` needs keys that were not merged", () => {
    const first = pairs("stored");
    const turned = sharedPlan(after(first), [row([0, 2], 7)], { keyFrame: "target" });
    expect((composePlans(first, turned) as SharedPlan).keyFrame).toBe("target");
    const merged = sharedPlan(after(first), [row([0, 1], 7)], { keyFrame: "target" });
    expect(codeOf(() => composePlans(first, merged))).toBe("KVFOLD_PLAN_COMPOSE");
  });
});

describe("what one plan cannot say", () => {
  const composite = compositePlan(view4, Uint32Array.of(0, 3, 1, 3));

  it.each<[string, () => MergePlan]>([
    ["another number of cells", () => composePlans(pairs("stored"), identityPlan(view))],
    ["merged rows before a composite plan", () => composePlans(pairs("stored"), composite)],
    [
      "turned keys before a composite plan",
      () =>
        composePlans(
          sharedPlan(
            view4,
            [0, 1, 2, 3].map((cell) => row([cell], cell)),
            { keyFrame: "target" },
          ),
          composite,
        ),
    ],
    [
      "merged rows after a composite plan",
      () => composePlans(composite, { ...sharedPlan(view4, [row([0, 1], 1)]), cells: 2 }),
    ],
  ])("%s: KVFOLD_PLAN_COMPOSE", (_what, call) => {
    expect(codeOf(call)).toBe("KVFOLD_PLAN_COMPOSE");
  });

  it("does not take plans that are not valid", () => {
    const broken = { ...composite, members: Uint32Array.of(0, 9, 1, 3) };
    expect(codeOf(() => composePlans(broken, composite))).toBe("KVFOLD_PLAN_MEMBER_RANGE");
  });
});
