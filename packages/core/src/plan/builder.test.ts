/** The builder: what rows become, and that nothing invalid leaves it. */
import { describe, expect, it } from "vitest";
import { codeOf, smallCache, smallLayer } from "../../test/small-cache.js";
import { sharedPlan } from "./builder.js";
import { compositePlan, identityPlan, keepPlan } from "./keep.js";
import { PIN_LEVEL } from "./plan.js";

const lease = (options: Parameters<typeof smallCache>[0] = {}) => smallCache(options).lease();

describe("sharedPlan", () => {
  it("lays rows out in CSR form and counts tokens", async () => {
    const view = await lease({ cells: 5, counts: Uint32Array.of(1, 2, 3, 4, 5) });
    const half = [0.5, 0.5];
    const plan = sharedPlan(view, [
      { members: [0], position: 0 },
      { members: [1, 2], position: 2, bias: Math.LN2, keyWeights: half },
      { members: [4], position: 4 },
    ]);
    expect([...plan.offsets]).toEqual([0, 1, 3, 4]);
    expect([...plan.members]).toEqual([0, 1, 2, 4]);
    expect([...plan.keyWeights.data]).toEqual([1, 0.5, 0.5, 1]);
    expect([...plan.valueWeights.data]).toEqual([1, 1, 1, 1]);
    expect([...plan.counts]).toEqual([1, 5, 5]);
    expect(plan.dropped).toBe(4);
    expect([...plan.bias!]).toEqual([0, Math.fround(Math.LN2), 0]);
  });

  it("keeps the bias of a cell that is only kept, and says none when all are zero", async () => {
    const view = await lease({ cells: 3, bias: Float32Array.of(0, 1.5, 0) });
    const kept = sharedPlan(view, [{ members: [1], position: 1 }]);
    expect([...kept.bias!]).toEqual([1.5]);
    const weighed = sharedPlan(view, [{ members: [1], position: 1, valueWeights: [0.5] }]);
    expect(weighed.bias).toBeNull();
  });

  it("asks for weights of every layer and head, padding missing heads with head 0", async () => {
    const view = await lease({ cells: 2, layers: [smallLayer({ kvHeads: 2 }), smallLayer({ kvHeads: 1 })] });
    const plan = sharedPlan(view, [{ members: [0, 1], position: 1 }], {
      headWeights: (layer, head, row) => ({ key: [layer, head], value: [row, 1] }),
    });
    expect(plan.keyWeights).toEqual({ scope: "head", data: Float32Array.of(0, 0, 0, 1, 1, 0, 1, 0) });
    expect(plan.valueWeights.data).toEqual(Float32Array.of(0, 1, 0, 1, 0, 1, 0, 1));
  });

  it.each([
    ["a member out of range", [{ members: [8], position: 0 }], "KVFOLD_PLAN_MEMBER_RANGE"],
    ["a negative member", [{ members: [-1], position: 0 }], "KVFOLD_PLAN_MEMBER_RANGE"],
    ["a member that would wrap", [{ members: [2 ** 32], position: 0 }], "KVFOLD_PLAN_MEMBER_RANGE"],
    ["a fractional member", [{ members: [0.5], position: 0 }], "KVFOLD_PLAN_MEMBER_RANGE"],
    ["no member", [{ members: [], position: 0 }], "KVFOLD_PLAN_SHAPE"],
    ["no row", [], "KVFOLD_PLAN_SHAPE"],
    ["a cell twice", [{ members: [1, 1], position: 0 }], "KVFOLD_PLAN_NOT_DISJOINT"],
    [
      "falling positions",
      [
        { members: [1], position: 3 },
        { members: [2], position: 2 },
      ],
      "KVFOLD_PLAN_ORDER",
    ],
    ["a negative position", [{ members: [1], position: -1 }], "KVFOLD_PLAN_ORDER"],
    ["a position that would wrap", [{ members: [1], position: 2 ** 32 }], "KVFOLD_PLAN_ORDER"],
    ["a weight too few", [{ members: [1, 2], position: 2, keyWeights: [1] }], "KVFOLD_PLAN_SHAPE"],
    ["a weight beyond f32", [{ members: [1, 2], position: 2, keyWeights: [1, 1e39] }], "KVFOLD_PLAN_WEIGHT"],
    [
      "a weight that is NaN",
      [{ members: [1], position: 2, valueWeights: [Number.NaN] }],
      "KVFOLD_PLAN_WEIGHT",
    ],
    ["a bias of 16", [{ members: [1, 2], position: 2, bias: 16 }], "KVFOLD_PLAN_BIAS"],
    ["a bias that is NaN", [{ members: [1, 2], position: 2, bias: Number.NaN }], "KVFOLD_PLAN_BIAS"],
    ["a new bias of a kept cell", [{ members: [1], position: 2, bias: 1 }], "KVFOLD_PLAN_BIAS"],
  ])("refuses %s", async (_what, rows, code) => {
    const view = await lease();
    expect(codeOf(() => sharedPlan(view, rows))).toBe(code);
  });
});

describe("keepPlan", () => {
  it("keeps true positions", async () => {
    const view = await lease({ positions: Int32Array.of(0, 3, 5, 9) });
    expect([...keepPlan(view, [0, 2, 3]).positions]).toEqual([0, 5, 9]);
  });

  it("packs positions towards the last, so a recent window keeps its own", async () => {
    const view = await lease({ cells: 8 });
    const plan = keepPlan(view, [0, 1, 6, 7], { positions: "dense" });
    expect([...plan.positions]).toEqual([4, 5, 6, 7]);
    expect(plan.dropped).toBe(4);
    // the last cell may be dropped: decoding still goes on after the true last position
    expect([...keepPlan(view, [0, 1], { positions: "dense" }).positions]).toEqual([6, 7]);
  });

  it("never goes below position 0", async () => {
    const view = await lease({ positions: Int32Array.of(0, 0, 1, 1) });
    expect([...keepPlan(view, [0, 1, 2, 3], { positions: "dense" }).positions]).toEqual([0, 0, 0, 1]);
  });

  it.each([
    [[1, 1], "KVFOLD_PLAN_NOT_DISJOINT"],
    [[2, 1], "KVFOLD_PLAN_ORDER"],
    [[1, Number.NaN], "KVFOLD_PLAN_ORDER"],
    [[8], "KVFOLD_PLAN_MEMBER_RANGE"],
    [[], "KVFOLD_PLAN_SHAPE"],
  ])("refuses %j", async (kept, code) => {
    const view = await lease();
    expect(codeOf(() => keepPlan(view, kept))).toBe(code);
  });
});

describe("identityPlan", () => {
  it("keeps everything where it is", async () => {
    const view = await lease({ cells: 3, bias: Float32Array.of(0, 1, 0), counts: Uint32Array.of(1, 2, 1) });
    const plan = identityPlan(view);
    expect([plan.members, plan.positions, plan.counts, plan.bias]).toEqual([
      Uint32Array.of(0, 1, 2),
      view.positions,
      view.counts,
      view.bias,
    ]);
    expect(plan.dropped).toBe(0);
  });
});

describe("compositePlan", () => {
  it("takes one source a head, counts the fewest tokens, and packs positions", async () => {
    const view = await lease({ cells: 4, counts: Uint32Array.of(3, 1, 2, 1) });
    const plan = compositePlan(view, Uint32Array.of(0, 3, 2, 3));
    expect([plan.layers, plan.kvHeads, plan.rows]).toEqual([1, 2, 2]);
    expect([...plan.counts]).toEqual([2, 1]);
    expect(plan.dropped).toBe(4);
    expect([...plan.positions]).toEqual([2, 3]);
  });

  it("keeps the one bias of the cells of a row", async () => {
    const view = await lease({ cells: 4, bias: Float32Array.of(1, 1, 0, 0) });
    expect([...compositePlan(view, Uint32Array.of(0, 2, 1, 3)).bias!]).toEqual([1, 0]);
    expect(codeOf(() => compositePlan(view, Uint32Array.of(0, 2, 2, 3)))).toBe("KVFOLD_PLAN_BIAS");
  });

  it.each([
    ["not a whole row", [0, 1, 2], "KVFOLD_PLAN_SHAPE"],
    ["nothing", [], "KVFOLD_PLAN_SHAPE"],
    ["a source out of range", [0, 9], "KVFOLD_PLAN_MEMBER_RANGE"],
    ["a source twice in a head", [0, 0, 0, 1], "KVFOLD_PLAN_NOT_DISJOINT"],
  ])("refuses %s", async (_what, members, code) => {
    const view = await lease({ cells: 4 });
    expect(codeOf(() => compositePlan(view, Uint32Array.from(members)))).toBe(code);
  });

  it("wants a pinned cell in the same row of every head", async () => {
    const view = await lease({ cells: 4 });
    const pins = Uint8Array.of(0, 0, PIN_LEVEL.exact, 0);
    expect(compositePlan(view, Uint32Array.of(0, 2, 1, 2), { pins }).rows).toBe(2);
    expect(codeOf(() => compositePlan(view, Uint32Array.of(0, 2, 2, 1), { pins }))).toBe("KVFOLD_PLAN_PIN");
    expect(codeOf(() => compositePlan(view, Uint32Array.of(0, 2, 0, 1), { pins }))).toBe("KVFOLD_PLAN_PIN");
    const absorb = Uint8Array.of(0, 0, PIN_LEVEL.absorb, 0);
    expect(compositePlan(view, Uint32Array.of(0, 2, 2, 1), { pins: absorb }).rows).toBe(2);
  });
});
