/** Rules on values that a plan solves for or gives: each is kept by good plans, and broken by one change. */
import { describe, expect, it } from "vitest";
import { fitOf, randomSample } from "../../test/fits.js";
import { codeOf, smallCache, smallLayer } from "../../test/small-cache.js";
import { sharedPlan } from "./builder.js";
import { checkPlan, checkPlanAlone } from "./check.js";
import { checkFitSample } from "./check-values.js";
import { compositePlan, keepPlan } from "./keep.js";
import { type DenseValues, type FitRequest, type MergePlan, PIN_LEVEL } from "./plan.js";

const layers = [smallLayer(), smallLayer({ kvHeads: 1, queryHeads: 3, valueDim: 16 })];
const view = await smallCache({ cells: 6, layers }).lease();
const ROWS = 3;
const SIZE = 2 * 2 * ROWS;
/** Rows 1 and 2 of head 0 of layer 0, row 2 of layer 1. */
const marked = (): Uint8Array => Uint8Array.of(0, 1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0);
const fit = fitOf({ free: marked() });
const values: DenseValues = { given: marked(), data: new Float32Array(32 + 32 + 16).fill(0.5) };
const members = Uint32Array.of(0, 2, 5, 0, 2, 5, 0, 2, 5, 0, 2, 5);
const plans: readonly (readonly [string, MergePlan])[] = [
  ["shared", keepPlan(view, [0, 2, 5])],
  ["composite", compositePlan(view, members)],
];

describe.each(plans)("a %s plan", (_layout, plan) => {
  const withFit = (change: Partial<FitRequest>): MergePlan => ({ ...plan, fit: { ...fit, ...change } });
  const withValues = (change: Partial<DenseValues>): MergePlan => ({
    ...plan,
    values: { ...values, ...change },
  });
  const check = (broken: MergePlan): string => codeOf(() => checkPlan(broken, view));

  it("may have a fit or given values", () => {
    expect(check(withFit({}))).toBe("nothing thrown");
    expect(check(withFit({ lambda: 1000, holdout: 4096, horizon: 2 ** 20 }))).toBe("nothing thrown");
    expect(check(withValues({}))).toBe("nothing thrown");
  });

  it("may not have both", () => {
    expect(check({ ...withFit({}), values })).toBe("KVFOLD_PLAN_FIT");
  });

  it.each<[string, object]>([
    ["lambda 0", { lambda: 0 }],
    ["lambda below 0", { lambda: -1 }],
    ["lambda above 1000", { lambda: 1000.5 }],
    ["lambda NaN", { lambda: Number.NaN }],
    ["lambda as text", { lambda: "0.1" }],
    ["another method", { method: "lasso" }],
    ["holdout 1", { holdout: 1 }],
    ["a holdout of more than the rows", { holdout: 4097 }],
    ["half a holdout", { holdout: 2.5 }],
    ["no horizon", { horizon: 0 }],
    ["a horizon past 2^20", { horizon: 2 ** 20 + 1 }],
    ["no rows", { maxRows: 0 }],
    ["rows past 2^20", { maxRows: 2 ** 20 + 1 }],
    ["no hash", { queries: "" }],
    ["a hash of capital letters", { queries: "A".repeat(64) }],
    // a head of two query heads has 2 floor(9 / 2) = 8 rows, 8 - 1 of them fit: one free row at most
    ["more free rows than a quarter of the query rows", { maxRows: 9, holdout: 5 }],
  ])("is refused with KVFOLD_PLAN_FIT for %s", (_what, change) => {
    expect(check(withFit(change))).toBe("KVFOLD_PLAN_FIT");
  });

  it("is refused with KVFOLD_PLAN_FIT where a layer has no such head", () => {
    const beyond = marked();
    beyond[SIZE - 1] = 1;
    expect(check(withFit({ free: beyond }))).toBe("KVFOLD_PLAN_FIT");
    const data = new Float32Array(32 + 32 + 16 + 16);
    expect(check(withValues({ given: beyond, data }))).toBe("KVFOLD_PLAN_FIT");
  });

  it("is refused with KVFOLD_PLAN_FIT where queries would leave the positions", () => {
    const positions = plan.positions.slice();
    positions[ROWS - 1] = 2 ** 31 - 1 - fit.horizon;
    expect(check({ ...withFit({}), positions })).toBe("KVFOLD_PLAN_FIT");
  });

  it.each<[string, unknown]>([
    ["no object", 7],
    ["undefined", undefined],
    ["no mask", { ...fit, free: undefined }],
    ["a mask of another class", { ...fit, free: [...marked()] }],
    ["a mask of no row", { ...fit, free: new Uint8Array(0) }],
    ["a mask cut", { ...fit, free: marked().slice(1) }],
    ["a head too many", { ...fit, free: new Uint8Array(SIZE + ROWS) }],
  ])("is refused with KVFOLD_PLAN_SHAPE for a fit that is %s", (_what, wrong) => {
    expect(check({ ...plan, fit: wrong } as MergePlan)).toBe("KVFOLD_PLAN_SHAPE");
  });

  it.each<[string, Partial<DenseValues>, string]>([
    ["infinite", { data: values.data.map((_, i) => (i === 70 ? Number.POSITIVE_INFINITY : 0)) }, "FIT"],
    ["marked with 3", { given: marked().map((bit) => 3 * bit) }, "FIT"],
    ["short", { data: values.data.slice(1) }, "SHAPE"],
    ["given to nobody", { given: new Uint8Array(SIZE) }, "SHAPE"],
    ["no numbers", { data: [] as never }, "SHAPE"],
    ["marked by a mask cut", { given: marked().slice(1) }, "SHAPE"],
  ])("is refused for values that are %s", (_what, change, rule) => {
    expect(check(withValues(change))).toBe(`KVFOLD_PLAN_${rule}`);
  });

  it("keeps to the limits", () => {
    const limits = { cells: 6, entries: SIZE };
    expect(codeOf(() => checkPlan(withFit({}), view, limits))).toBe("nothing thrown");
    expect(codeOf(() => checkPlan(withValues({}), view, limits))).toBe("KVFOLD_PLAN_LIMIT");
  });

  it("keeps exact pins as they are, and lets others have a value", () => {
    const pinned = (level: number): Uint8Array => Uint8Array.of(0, 0, level, 0, 0, 0);
    for (const changed of [withFit({}), withValues({})]) {
      expect(check({ ...changed, pins: pinned(PIN_LEVEL.exact) })).toBe("KVFOLD_PLAN_PIN");
      expect(check({ ...changed, pins: pinned(PIN_LEVEL.key) })).toBe("nothing thrown");
      expect(check({ ...changed, pins: pinned(PIN_LEVEL.absorb) })).toBe("nothing thrown");
      // row 0 keeps cell 0, whose value nobody touches
      const free = Uint8Array.of(PIN_LEVEL.exact, 0, 0, 0, 0, 0);
      expect(check({ ...changed, pins: free })).toBe("nothing thrown");
    }
  });

  it("without a cache, only knows what it says itself", () => {
    expect(codeOf(() => checkPlanAlone(withFit({})))).toBe("nothing thrown");
    expect(codeOf(() => checkPlanAlone(withFit({ maxRows: 9, holdout: 2 })))).toBe("KVFOLD_PLAN_FIT");
    expect(codeOf(() => checkPlanAlone(withValues({ data: new Float32Array(2) })))).toBe("KVFOLD_PLAN_SHAPE");
  });

  it("names its sample", () => {
    const sample = randomSample(view.shape, 40);
    const named = withFit({ queries: sample.hash });
    const against = (queries: typeof sample | null): string =>
      codeOf(() => checkFitSample(named, view.shape, queries));
    expect(against(sample)).toBe("nothing thrown");
    expect(against(null)).toBe("KVFOLD_PLAN_FIT");
    expect(against({ ...sample, hash: fit.queries })).toBe("KVFOLD_PLAN_FIT");
    expect(against({ ...sample, layers: [sample.layers[0]!, null] })).toBe("KVFOLD_PLAN_FIT");
    // 4 samples of 2 heads: 8 rows, 7 of them fit
    const few = randomSample(view.shape, 4);
    expect(codeOf(() => checkFitSample(withFit({ queries: few.hash }), view.shape, few))).toBe(
      "KVFOLD_PLAN_FIT",
    );
    expect(codeOf(() => checkFitSample(plan, view.shape, null))).toBe("nothing thrown");
  });

  it("is judged against the sample of its view", () => {
    const queries = randomSample(view.shape, 40);
    const seeing = { ...view, signals: { ...view.signals, queries } };
    expect(codeOf(() => checkPlan(withFit({}), seeing))).toBe("KVFOLD_PLAN_FIT");
    expect(codeOf(() => checkPlan(withFit({ queries: queries.hash }), seeing))).toBe("nothing thrown");
  });
});

describe("builders", () => {
  it("take a fit or values, and check them", () => {
    const rows = [0, 2, 5].map((cell) => ({ members: [cell], position: cell }));
    expect(sharedPlan(view, rows, { fit }).fit).toEqual(fit);
    expect(keepPlan(view, [0, 2, 5], { values }).values).toEqual(values);
    expect(compositePlan(view, members, { fit }).fit).toEqual(fit);
    expect(codeOf(() => compositePlan(view, members, { fit, values }))).toBe("KVFOLD_PLAN_FIT");
  });

  it("leave out what asks for nothing", () => {
    const nothing = { ...fit, free: new Uint8Array(SIZE) };
    expect(compositePlan(view, members, { fit: nothing }).fit).toBeNull();
    const none = { given: new Uint8Array(SIZE), data: new Float32Array(0) };
    expect(keepPlan(view, [0, 2, 5], { values: none }).values).toBeNull();
  });

  it("refuse what is no request", () => {
    expect(codeOf(() => compositePlan(view, members, { fit: {} as FitRequest }))).toBe("KVFOLD_PLAN_SHAPE");
  });
});
