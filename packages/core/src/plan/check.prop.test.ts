/** Plans from the builder pass; objects that are no plans get a code, never a crash. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { anyPlans, SEED } from "../../test/plans.js";
import { codeOf, smallCache, smallLayer } from "../../test/small-cache.js";
import type { CacheView } from "../view.js";
import { checkPlan, checkPlanAlone } from "./check.js";
import type { MergePlan } from "./plan.js";

const view: CacheView = await smallCache({
  layers: [smallLayer(), smallLayer({ kvHeads: 1 })],
  cells: 7,
}).lease();
const biased: CacheView = await smallCache({ cells: 7, bias: Float32Array.of(0, 1, 0, 0, 2, 0, 0) }).lease();

/** Values that a careless or hostile writer might put into a field. */
const junk = fc.oneof(
  fc.constantFrom(undefined, null, Number.NaN, -1, 0.5, 2 ** 53, "", "shared", true, [], {}),
  fc.constantFrom(
    new Float64Array(3),
    new Uint8Array(2),
    new Int32Array(0),
    new DataView(new ArrayBuffer(4)),
  ),
  fc.anything(),
);

describe("checkPlan", () => {
  it("passes whatever the builders make", () => {
    fc.assert(
      fc.property(
        fc.oneof(
          anyPlans(view).map((plan) => ({ plan, of: view })),
          anyPlans(biased).map((plan) => ({ plan, of: biased })),
        ),
        ({ plan, of }) => {
          checkPlan(plan, of);
          checkPlanAlone(plan, of.shape);
        },
      ),
      { seed: SEED, numRuns: 300 },
    );
  });

  it("answers any field gone wrong with a code of its own", () => {
    const fields = [
      "version",
      "layout",
      "cells",
      "rows",
      "positions",
      "counts",
      "dropped",
      "bias",
      "pins",
      "offsets",
    ];
    const more = ["members", "keyWeights", "valueWeights", "keyFrame", "layers", "kvHeads"];
    fc.assert(
      fc.property(anyPlans(view), fc.constantFrom(...fields, ...more), junk, (plan, field, value) => {
        const code = codeOf(() => checkPlan({ ...plan, [field]: value } as MergePlan, view));
        expect(code).toMatch(/^KVFOLD_PLAN_[A-Z_]+$|^nothing thrown$/);
      }),
      { seed: SEED, numRuns: 1000 },
    );
  });

  it("answers anything at all with KVFOLD_PLAN_SHAPE", () => {
    fc.assert(
      fc.property(junk, (thing) => {
        expect(codeOf(() => checkPlan(thing as MergePlan, view))).toBe("KVFOLD_PLAN_SHAPE");
      }),
      { seed: SEED, numRuns: 500 },
    );
  });
});
