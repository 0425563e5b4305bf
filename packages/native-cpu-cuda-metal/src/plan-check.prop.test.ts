/** The check at the native border finds what the check of core finds, with the same code. */
import { checkPlanAlone, KvfoldError, type MemoryTarget, type MergePlan } from "@kvfold/core";
import {
  arbitraryPlan,
  arbitraryShapeOptions,
  chooseDestinations,
  fakeTarget,
  fuzz,
  MUTATIONS,
} from "@kvfold/testkit";
import fc from "fast-check";
import { expect, it } from "vitest";
import { createNativeExecutor } from "./executor.js";
import { memoryFromTarget } from "./memory.js";

const executor = createNativeExecutor();

async function nativeCode(memory: MemoryTarget, plan: MergePlan, rows: number): Promise<string> {
  const destinations = chooseDestinations(memory, rows, "packed");
  try {
    (await executor.prepare(memoryFromTarget(memory), plan, { destinations })).dispose();
  } catch (error) {
    if (error instanceof KvfoldError) return error.code;
    throw error;
  }
  return "accepted";
}

function coreCode(memory: MemoryTarget, plan: MergePlan): string {
  try {
    checkPlanAlone(plan, memory.shape);
  } catch (error) {
    if (error instanceof KvfoldError) return error.code;
    throw error;
  }
  return "accepted";
}

const cases = fc.record({ options: arbitraryShapeOptions(), seed: fc.nat() }).chain(({ options, seed }) => {
  const memory = fakeTarget(seed, options);
  return fc.record({ memory: fc.constant(memory), plan: arbitraryPlan(memory) });
});

it("valid plans are accepted", async () => {
  const property = fc.asyncProperty(cases, async ({ memory, plan }) => {
    expect(await nativeCode(memory, plan, plan.rows)).toBe("accepted");
  });
  await fc.assert(property, fuzz(100));
});

it.each(MUTATIONS.map((mutation) => [mutation.name, mutation] as const))("%s", async (_name, { apply }) => {
  let broken = 0;
  const property = fc.asyncProperty(cases, async ({ memory, plan }) => {
    const spoiled = apply(plan);
    if (spoiled === null) return;
    const want = coreCode(memory, spoiled);
    if (want === "accepted") return; // a rule that needs the counts or biases of the old cells
    broken++;
    expect(await nativeCode(memory, spoiled, plan.rows)).toBe(want);
  });
  await fc.assert(property, fuzz(30));
  const needsOldCells = /token|kept cell/.test(_name);
  if (!needsOldCells) expect(broken, "the fault could be made at least once").toBeGreaterThan(0);
});
