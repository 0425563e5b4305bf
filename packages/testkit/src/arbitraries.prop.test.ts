/** The generators make valid plans, and every mutation is caught by the plan check with its code. */
import { checkPlan, isKvfoldError } from "@kvfold/core";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  arbitraryCase,
  arbitraryCompositePlan,
  arbitrarySharedPlan,
  arbitrarySubject,
} from "./arbitraries.js";
import { MUTATIONS } from "./mutations.js";
import { fuzz } from "./runs.js";

describe("generated plans", () => {
  it("pass the plan check", () => {
    fc.assert(
      fc.property(arbitraryCase(), ({ subject, plan }) => checkPlan(plan, subject)),
      fuzz(300),
    );
  });

  it("cover both layouts, merges, drops, identity rows, both frames, biases and every scope", () => {
    const seen = new Set<string>();
    const plans = arbitrarySubject().chain((subject) =>
      fc.tuple(arbitrarySharedPlan(subject), arbitraryCompositePlan(subject)),
    );
    fc.assert(
      fc.property(plans, ([shared, composite]) => {
        seen.add(shared.keyFrame).add(shared.keyWeights.scope).add(`value ${shared.valueWeights.scope}`);
        if (shared.members.length > shared.rows) seen.add("merges");
        if (shared.dropped > 0) seen.add("drops");
        if (shared.bias) seen.add("bias");
        if (composite.rows < composite.cells) seen.add("smaller");
        if (new Set(composite.members).size > composite.rows) seen.add("heads differ");
      }),
      fuzz(200),
    );
    const wanted = ["stored", "target", "all", "layer", "head", "value all", "value layer", "value head"];
    expect([...seen]).toEqual(
      expect.arrayContaining([...wanted, "merges", "drops", "bias", "smaller", "heads differ"]),
    );
  });
});

describe("mutations", () => {
  it.each(MUTATIONS.map((mutation) => [mutation.name, mutation] as const))("%s", (_name, mutation) => {
    let made = 0;
    fc.assert(
      fc.property(arbitraryCase(), ({ subject, plan }) => {
        const broken = mutation.apply(plan);
        if (broken === null) return;
        made += 1;
        checkPlan(plan, subject); // the original is still whole
        try {
          checkPlan(broken, subject);
        } catch (error) {
          expect(isKvfoldError(error) && error.code).toBe(mutation.code);
          return;
        }
        throw new Error("the plan check accepted it");
      }),
      fuzz(120),
    );
    expect(made).toBeGreaterThan(5);
  });
});
