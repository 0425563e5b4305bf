/** One broken rule, one code; and that a check is fast and never crashes. */
import { describe, expect, it } from "vitest";
import { codeOf, smallCache, smallLayer } from "../../test/small-cache.js";
import type { CacheView } from "../view.js";
import { sharedPlan } from "./builder.js";
import { checkPlan, checkPlanAlone } from "./check.js";
import { compositePlan, identityPlan, keepPlan } from "./keep.js";
import { type CompositePlan, type MergePlan, PIN_LEVEL, type SharedPlan } from "./plan.js";

const view: CacheView = await smallCache({
  layers: [smallLayer(), smallLayer({ kvHeads: 1 })],
  cells: 6,
}).lease();

const shared: SharedPlan = sharedPlan(view, [
  { members: [0], position: 0 },
  { members: [1, 2], position: 2, bias: 0.5, keyWeights: [0.5, 0.5], valueWeights: [0.5, 0.5] },
  { members: [5], position: 5 },
]);
// layer 1 has one KV head: its second entry repeats the first
const composite: CompositePlan = compositePlan(view, Uint32Array.of(0, 5, 1, 5, 2, 5, 2, 5));

const ones = (length: number): Float32Array => new Float32Array(length).fill(1);
const withShared = (change: Partial<SharedPlan>): MergePlan => ({ ...shared, ...change });
const withComposite = (change: Partial<CompositePlan>): MergePlan => ({ ...composite, ...change });
const pins = (cell: number, level: number): Uint8Array => {
  const levels = new Uint8Array(6);
  levels[cell] = level;
  return levels;
};

describe("checkPlan", () => {
  it.each([
    ["a shared plan", shared],
    ["a composite plan", composite],
    ["the identity", identityPlan(view)],
    ["a plan that drops the last cell", keepPlan(view, [0])],
    ["weights by layer", withShared({ keyWeights: { scope: "layer", data: ones(8) } })],
    ["weights by head", withShared({ keyWeights: { scope: "head", data: ones(16) } })],
    ["a bias just below the limit", withShared({ bias: Float32Array.of(0, -15.99, 0) })],
    ["an exact pin that is kept", withShared({ pins: pins(5, PIN_LEVEL.exact) })],
    ["a pin that absorbs", withShared({ pins: pins(1, PIN_LEVEL.absorb) })],
    ["an exact pin in the same row of all heads", withComposite({ pins: pins(5, PIN_LEVEL.exact) })],
  ])("passes %s", (_what, plan) => {
    expect(codeOf(() => checkPlan(plan, view))).toBe("nothing thrown");
  });

  it.each<[string, MergePlan, string]>([
    ["another version", withShared({ version: 2 as 1 }), "KVFOLD_PLAN_SHAPE"],
    ["another cache", withShared({ cells: 7 }), "KVFOLD_PLAN_SHAPE"],
    ["an unknown layout", withShared({ layout: "sparse" as "shared" }), "KVFOLD_PLAN_SHAPE"],
    ["positions too short", withShared({ positions: Int32Array.of(0, 2) }), "KVFOLD_PLAN_SHAPE"],
    [
      "counts of another class",
      withShared({ counts: Int32Array.of(1, 2, 1) as unknown as Uint32Array }),
      "KVFOLD_PLAN_SHAPE",
    ],
    ["bias too long", withShared({ bias: new Float32Array(4) }), "KVFOLD_PLAN_SHAPE"],
    ["pins too short", withShared({ pins: new Uint8Array(3) }), "KVFOLD_PLAN_SHAPE"],
    ["offsets that fall", withShared({ offsets: Uint32Array.of(0, 3, 1, 4) }), "KVFOLD_PLAN_SHAPE"],
    ["offsets that end early", withShared({ offsets: Uint32Array.of(0, 1, 2, 3) }), "KVFOLD_PLAN_SHAPE"],
    [
      "weights for another scope",
      withShared({ keyWeights: { scope: "layer", data: ones(4) } }),
      "KVFOLD_PLAN_SHAPE",
    ],
    [
      "an unknown scope",
      withShared({ keyWeights: { scope: "row" as "all", data: ones(4) } }),
      "KVFOLD_PLAN_SHAPE",
    ],
    ["an unknown key frame", withShared({ keyFrame: "rotated" as "stored" }), "KVFOLD_PLAN_SHAPE"],
    ["another number of layers", withComposite({ layers: 4, kvHeads: 1 }), "KVFOLD_PLAN_SHAPE"],
    [
      "a missing head that differs",
      withComposite({ members: Uint32Array.of(0, 5, 1, 5, 2, 5, 3, 5) }),
      "KVFOLD_PLAN_SHAPE",
    ],
    ["a negative drop", withShared({ dropped: -1 }), "KVFOLD_PLAN_SHAPE"],
    [
      "a member out of range",
      withShared({ members: Uint32Array.of(0, 1, 6, 5) }),
      "KVFOLD_PLAN_MEMBER_RANGE",
    ],
    [
      "a source out of range",
      withComposite({ members: Uint32Array.of(0, 5, 1, 5, 2, 9, 2, 9) }),
      "KVFOLD_PLAN_MEMBER_RANGE",
    ],
    ["a cell in two rows", withShared({ members: Uint32Array.of(0, 1, 0, 5) }), "KVFOLD_PLAN_NOT_DISJOINT"],
    [
      "a source twice in a head",
      withComposite({ members: Uint32Array.of(0, 5, 5, 5, 2, 5, 2, 5) }),
      "KVFOLD_PLAN_NOT_DISJOINT",
    ],
    ["positions that fall", withShared({ positions: Int32Array.of(0, 6, 5) }), "KVFOLD_PLAN_ORDER"],
    ["a negative position", withShared({ positions: Int32Array.of(-1, 2, 5) }), "KVFOLD_PLAN_ORDER"],
    ["no position left", withShared({ positions: Int32Array.of(0, 2, 2 ** 31 - 1) }), "KVFOLD_PLAN_ORDER"],
    ["a token lost", withShared({ dropped: 1 }), "KVFOLD_PLAN_COUNTS"],
    ["a token invented", withShared({ counts: Uint32Array.of(1, 3, 1) }), "KVFOLD_PLAN_COUNTS"],
    ["a row without tokens", withShared({ counts: Uint32Array.of(0, 3, 1) }), "KVFOLD_PLAN_COUNTS"],
    [
      "an infinite weight",
      withShared({ keyWeights: { scope: "all", data: Float32Array.of(1, 1, Infinity, 1) } }),
      "KVFOLD_PLAN_WEIGHT",
    ],
    [
      "a weight that is NaN",
      withShared({ valueWeights: { scope: "all", data: Float32Array.of(1, NaN, 1, 1) } }),
      "KVFOLD_PLAN_WEIGHT",
    ],
    ["a bias of 16", withShared({ bias: Float32Array.of(0, 16, 0) }), "KVFOLD_PLAN_BIAS"],
    ["a bias of minus infinity", withShared({ bias: Float32Array.of(0, -Infinity, 0) }), "KVFOLD_PLAN_BIAS"],
    ["a bias that is NaN", withShared({ bias: Float32Array.of(0, NaN, 0) }), "KVFOLD_PLAN_BIAS"],
    ["a new bias of a kept cell", withShared({ bias: Float32Array.of(0, 0, 1) }), "KVFOLD_PLAN_BIAS"],
    ["a bias in a composite row", withComposite({ bias: Float32Array.of(1, 0) }), "KVFOLD_PLAN_BIAS"],
    ["a pinned cell dropped", withShared({ pins: pins(3, PIN_LEVEL.absorb) }), "KVFOLD_PLAN_PIN"],
    ["a pinned key merged", withShared({ pins: pins(1, PIN_LEVEL.key) }), "KVFOLD_PLAN_PIN"],
    ["an exact cell merged", withShared({ pins: pins(2, PIN_LEVEL.exact) }), "KVFOLD_PLAN_PIN"],
    ["an unknown level", withShared({ pins: pins(0, 4) }), "KVFOLD_PLAN_PIN"],
    [
      "a pinned cell missing in a head",
      withComposite({ pins: pins(0, PIN_LEVEL.absorb) }),
      "KVFOLD_PLAN_PIN",
    ],
  ])("refuses %s", (_what, plan, code) => {
    expect(codeOf(() => checkPlan(plan, view))).toBe(code);
  });

  it("lets a pinned key take values in, but no keys", () => {
    const one = Float32Array.of(1, 1, 0, 1);
    const plan = withShared({ pins: pins(1, PIN_LEVEL.key), keyWeights: { scope: "all", data: one } });
    expect(codeOf(() => checkPlan(plan, view))).toBe("nothing thrown");
    const exact = { ...plan, pins: pins(1, PIN_LEVEL.exact) };
    expect(codeOf(() => checkPlan(exact, view))).toBe("KVFOLD_PLAN_PIN");
  });

  it("does not let a pinned key be rotated away", () => {
    const rows = [
      { members: [1], position: 1 },
      { members: [5], position: 4 },
    ];
    const plan = { ...sharedPlan(view, rows, { keyFrame: "target" }), pins: pins(1, PIN_LEVEL.key) };
    expect(codeOf(() => checkPlan(plan, view))).toBe("nothing thrown");
    expect(codeOf(() => checkPlan({ ...plan, pins: pins(5, PIN_LEVEL.key) }, view))).toBe("KVFOLD_PLAN_PIN");
    // the same cell was rotated to position 4 before, so it stays as it is
    const moved = { ...view, sources: () => Int32Array.of(0, 1, 2, 3, 4, 4, 0, 1, 2, 3, 4, 4) };
    expect(codeOf(() => checkPlan({ ...plan, pins: pins(5, PIN_LEVEL.key) }, moved))).toBe("nothing thrown");
    const plain = {
      ...view,
      shape: { ...view.shape, layers: [smallLayer({ rope: null }), smallLayer({ rope: null, kvHeads: 1 })] },
    };
    expect(codeOf(() => checkPlan({ ...plan, pins: pins(5, PIN_LEVEL.exact) }, plain))).toBe(
      "nothing thrown",
    );
  });

  it("looks at limits before anything else of the plan", () => {
    const huge = withShared({ cells: 2 ** 40, rows: 2 ** 30 });
    expect(codeOf(() => checkPlan(huge, view))).toBe("KVFOLD_PLAN_LIMIT");
    expect(codeOf(() => checkPlan(withComposite({ layers: 2 ** 30 }), view))).toBe("KVFOLD_PLAN_LIMIT");
    expect(codeOf(() => checkPlan(shared, view, { cells: 5, entries: 100 }))).toBe("KVFOLD_PLAN_LIMIT");
    expect(codeOf(() => checkPlan(composite, view, { cells: 6, entries: 7 }))).toBe("KVFOLD_PLAN_LIMIT");
  });

  it("names the mistake and who says so", () => {
    const broken = withShared({ members: Uint32Array.of(0, 1, 6, 5) });
    expect(() => checkPlan(broken, view)).toThrow("[kvfold] [plan] member 6 of a cache of 6 cells");
  });
});

describe("checkPlanAlone", () => {
  it("knows the rules that need no cache", () => {
    expect(codeOf(() => checkPlanAlone(shared))).toBe("nothing thrown");
    expect(codeOf(() => checkPlanAlone(withShared({ dropped: 17 })))).toBe("nothing thrown");
    expect(codeOf(() => checkPlanAlone(withShared({ pins: pins(3, PIN_LEVEL.exact) })))).toBe(
      "KVFOLD_PLAN_PIN",
    );
    expect(codeOf(() => checkPlanAlone(shared, { ...view.shape, cells: 7 }))).toBe("KVFOLD_PLAN_SHAPE");
  });
});

describe("speed", () => {
  it("checks 4096 cells in 30 layers of 3 heads in well under 50 ms", () => {
    const layers = Array.from({ length: 30 }, (_, layer) => smallLayer({ layer, kvHeads: 3 }));
    const cells = 4096;
    const large: CacheView = {
      ...view,
      shape: { layers, cells },
      positions: Int32Array.from({ length: cells }, (_, cell) => cell),
      counts: new Uint32Array(cells).fill(1),
    };
    const order = Array.from({ length: cells }, (_, cell) => cell);
    const plan = compositePlan(large, Uint32Array.from(Array.from({ length: 90 }, () => order).flat()), {
      pins: new Uint8Array(cells).fill(PIN_LEVEL.exact),
    });
    // other work on the machine only ever makes a run slower: the least of some counts
    let least = Number.POSITIVE_INFINITY;
    for (let run = 0; run < 40 && least >= 50; run++) {
      const start = performance.now();
      checkPlan(plan, large);
      least = Math.min(least, performance.now() - start);
    }
    expect(least).toBeLessThan(50);
  });
});
