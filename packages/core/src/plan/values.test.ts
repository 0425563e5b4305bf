/** Plans with a fit or given values: made, drawn, and what their rows are to engines. */
import { describe, expect, it } from "vitest";
import { fitOf } from "../../test/fits.js";
import { codeOf, smallCache, smallLayer } from "../../test/small-cache.js";
import { sharedPlan } from "./builder.js";
import { compositePlan, keepPlan } from "./keep.js";
import { isNoOpPlan } from "./no-op.js";
import type { MergePlan } from "./plan.js";
import { printPlan } from "./print.js";
import {
  isIdentityRow,
  keptCell,
  nextRepeat,
  nextTokenLogProbs,
  nextTokens,
  ownValues,
  valueStaysPut,
} from "./rows.js";
import { valueReader, withFit } from "./values.js";

const layers = [smallLayer(), smallLayer({ kvHeads: 1, valueDim: 16 })];
const tokens = Int32Array.of(10, 11, 12, 13);
const view = await smallCache({ cells: 4, layers, tokens }).lease();
const all = keepPlan(view, [0, 1, 2, 3]);
/** Row 1 in head 1 of layer 0; rows 1 and 2 in layer 1. */
const free = Uint8Array.of(0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0);
const fit = fitOf({ free });
const values = { given: free, data: Float32Array.from({ length: 32 + 16 + 16 }, (_, i) => i) };
const changed: readonly MergePlan[] = [
  { ...all, fit },
  { ...all, values },
];

describe("withFit", () => {
  it("adds a fit, takes it away, and leaves the plan as it was", () => {
    const plan = withFit(all, fit);
    expect([plan.fit, all.fit]).toEqual([fit, null]);
    expect(withFit(plan, null)).toEqual(all);
    expect(withFit(all, { ...fit, free: new Uint8Array(16) })).toEqual(all);
  });

  it("refuses a request that breaks a rule", () => {
    expect(codeOf(() => withFit(all, { ...fit, lambda: 0 }))).toBe("KVFOLD_PLAN_FIT");
    expect(codeOf(() => withFit({ ...all, values }, fit))).toBe("KVFOLD_PLAN_FIT");
  });
});

describe("a row whose value is solved for or given", () => {
  it("keeps its cell, but is no identity", () => {
    for (const plan of changed) {
      expect([0, 1, 2, 3].map((row) => keptCell(plan, row))).toEqual([0, 1, 2, 3]);
      expect([0, 1, 2, 3].map((row) => valueStaysPut(plan, row))).toEqual([true, false, false, true]);
      expect([0, 1, 2, 3].map((row) => isIdentityRow(plan, row, view))).toEqual([true, false, false, true]);
      expect(ownValues(plan)).toBe(free);
    }
    expect(ownValues(all)).toBeNull();
  });

  it("keeps token and log-probability", () => {
    const logProbs = Float32Array.of(-1, -2, -3, -4);
    for (const plan of changed) {
      expect(nextTokens(plan, tokens)).toEqual(tokens);
      expect(nextTokenLogProbs(plan, logProbs)).toEqual(logProbs);
    }
  });

  it("makes a plan that keeps all cells change something", () => {
    expect(isNoOpPlan(all, view)).toBe(true);
    for (const plan of changed) expect(isNoOpPlan(plan, view)).toBe(false);
  });
});

describe("valueReader", () => {
  it("finds the value of a row, past heads and layers of other sizes", () => {
    const read = valueReader(values, 4, layers);
    expect(read(0, 0, 1)).toBeNull();
    expect([...read(0, 1, 1)!]).toEqual([...values.data.subarray(0, 32)]);
    expect([...read(1, 0, 1)!]).toEqual([...values.data.subarray(32, 48)]);
    expect([...read(1, 0, 2)!]).toEqual([...values.data.subarray(48)]);
  });

  it("refuses data of another length", () => {
    const short = { given: free, data: values.data.slice(1) };
    expect(codeOf(() => valueReader(short, 4, layers))).toBe("KVFOLD_PLAN_SHAPE");
  });
});

describe("what a second reading attended to", () => {
  const repeat = { layers: [Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8), Float32Array.of(4, 3, 2, 1)] };

  it("goes with the cell of each head", () => {
    const plan = compositePlan(view, Uint32Array.of(0, 3, 1, 2, 1, 3, 1, 3));
    expect(nextRepeat(plan, view.shape, repeat)).toEqual({
      layers: [Float32Array.of(1, 4, 6, 7), Float32Array.of(3, 1)],
    });
    expect(nextRepeat(plan, view.shape, null)).toBeNull();
  });

  it("is that of the member that got most, of those that weigh in the key", () => {
    const plan = sharedPlan(view, [
      { members: [0, 1, 2], position: 2, keyWeights: [1, 0.5, 0] },
      { members: [3], position: 3 },
    ]);
    expect(nextRepeat(plan, view.shape, repeat)!.layers).toEqual([
      Float32Array.of(2, 4, 6, 8),
      Float32Array.of(4, 1),
    ]);
  });
});

describe("printPlan", () => {
  it("says how many rows are fitted, and in which heads", () => {
    const text = printPlan(withFit(all, fit), { width: 120 });
    expect(text).toContain(
      "values     3 fitted, 0..2 of 4 in a head, ridge 0.01, one query in 5 judges, sample 01234567",
    );
    expect(text.split("\n").at(-1)).toBe("rows by layer and KV head: 0 1 2 0");
    const held = { ...fit, free: fit.free.map((factor) => 10 * factor) };
    expect(printPlan(withFit(all, held), { width: 120 })).toContain(
      "values     3 fitted, 0..2 of 4 in a head",
    );
    expect(printPlan({ ...all, values })).toContain("values     3 given, 0..2 of 4 in a head");
    expect(printPlan(all)).not.toContain("values  ");
  });

  it("lists the layers of a composite plan, within the width", () => {
    const composite = compositePlan(view, Uint32Array.from([0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3]));
    const text = printPlan(withFit(composite, fit), { width: 40 });
    expect(text.split("\n").slice(-2)).toEqual(["L0 H0 0, H1 1", "L1 H0 2, H1 0"]);
    expect(text.split("\n").every((line) => line.length <= 40)).toBe(true);
  });
});
