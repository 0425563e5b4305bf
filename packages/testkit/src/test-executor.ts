/** The conformance suite of executors: one call registers every promise as a test. */
import type { DType, Executor, MemoryTarget, MergePlan, QuerySample } from "@kvfold/core";
import fc from "fast-check";
import { beforeAll, describe, expect, it, type TestContext } from "vitest";
import { arbitraryPlan, arbitraryShapeOptions } from "./arbitraries.js";
import { EXECUTOR_CASES, type ExecutorCase } from "./executor-cases.js";
import {
  type Adapt,
  checkFold,
  checkRefusal,
  checkRollback,
  chooseDestinations,
  type ExecutorUnderTest,
} from "./executor-checks.js";
import { fakeQueries } from "./fake-queries.js";
import { copyTarget, type FakeTarget, fakeTarget } from "./fake-target.js";
import { MUTATIONS } from "./mutations.js";
import { fuzz } from "./runs.js";

/** What is special about one executor. */
export interface TestExecutorOptions {
  /** Types that must be supported; a case of another type is skipped when `supports` gives a reason. [f32, f16, q8_0] */
  readonly mustSupport?: readonly DType[];
  /** Random shapes and plans that are tried besides the standard cases. [40] */
  readonly randomRuns?: number;
  readonly seed?: number;
}

/** What the tests of one suite share. */
interface Suite<Target> {
  under(): ExecutorUnderTest<Target>;
  readonly mustSupport: readonly DType[];
  readonly randomRuns: number;
  readonly seed: number;
}

/**
 * Registers a suite with the promises of every executor: equal to the reference within the bounds table, kept rows byte
 * for byte, any order of slots and destinations, nothing outside the plan touched, rollback and refusal leave every byte,
 * the same bytes every time.
 *
 * @param makeExecutor called once, before the first test
 * @param adapt turns plain memory into what the executor reaches; it must write through to the same bytes
 *
 * @example
 * testExecutor("reference", () => referenceExecutor, (memory) => ({ target: memory }));
 */
export function testExecutor<Target>(
  name: string,
  makeExecutor: () => Executor<Target> | Promise<Executor<Target>>,
  adapt: Adapt<Target>,
  options: TestExecutorOptions = {},
): void {
  const { mustSupport = ["f32", "f16", "q8_0"], randomRuns = 40, seed = 1 } = options;
  describe(`executor ${name}`, () => {
    let made: ExecutorUnderTest<Target> | undefined;
    beforeAll(async () => {
      made = { executor: await makeExecutor(), adapt };
    });
    const under = (): ExecutorUnderTest<Target> => {
      if (!made) throw new Error("the executor could not be made");
      return made;
    };
    const suite: Suite<Target> = { under, mustSupport, randomRuns, seed };
    it("has a name", () => expect(under().executor.name).not.toBe(""));
    for (const one of EXECUTOR_CASES) registerCase(suite, one);
    registerRefusals(suite);
    registerRandom(suite);
  });
}

// ---------------------------------------------------------------------------------------------------------------

interface SetUp {
  readonly memory: FakeTarget;
  readonly plan: MergePlan;
  readonly destinations: Uint32Array;
  readonly queries: QuerySample | null;
}

function setUp(one: ExecutorCase, seed: number, kind: "packed" | "anywhere" = "packed"): SetUp {
  const memory = fakeTarget(seed, one.memory);
  const sample = fakeQueries(seed, memory.shape, one.samples ?? 0);
  const plan = one.plan(memory, sample);
  const destinations = chooseDestinations(memory, plan.rows, kind);
  return { memory, plan, destinations, queries: one.samples ? sample : null };
}

/** Skips what the executor says it does not support, unless it must. */
function skipUnsupported<Target>(context: TestContext, suite: Suite<Target>, memory: MemoryTarget): void {
  const reason = suite.under().executor.supports(memory.shape);
  if (reason === true) return;
  const types = memory.shape.layers.flatMap((layer) => [layer.keyType, layer.valueType]);
  expect(reason, "the reason is a sentence").toMatch(/\S+ \S+/);
  expect(
    types.every((dtype) => suite.mustSupport.includes(dtype)),
    `must support ${types.join(", ")}, but: ${reason}`,
  ).toBe(false);
  context.skip(reason);
}

function registerCase<Target>(suite: Suite<Target>, one: ExecutorCase): void {
  describe(one.name, () => {
    for (const kind of ["packed", "anywhere"] as const) {
      it(`folds as the reference does, destinations ${kind}`, async (context) => {
        const { memory, plan, destinations, queries } = setUp(one, suite.seed, kind);
        skipUnsupported(context, suite, memory);
        await checkFold(suite.under(), memory, plan, destinations, queries);
      });
    }
    it("rolls back to the last byte", async (context) => {
      const { memory, plan, destinations, queries } = setUp(one, suite.seed);
      skipUnsupported(context, suite, memory);
      await checkRollback(suite.under(), memory, plan, destinations, queries);
    });
  });
}

/** Faults of a plan that an executor must refuse itself: they would make it read or write where nothing is. */
const DANGEROUS = MUTATIONS.filter(({ code }) =>
  ["KVFOLD_PLAN_SHAPE", "KVFOLD_PLAN_MEMBER_RANGE", "KVFOLD_PLAN_FIT"].includes(code),
);

function registerRefusals<Target>(suite: Suite<Target>): void {
  const cases = EXECUTOR_CASES.filter(({ name }) => /^(f32|f16): (pairs|composite|given)/.test(name));
  describe("refuses, and changes nothing", () => {
    for (const { name, code, apply } of DANGEROUS) {
      it(name, async () => {
        for (const one of cases) {
          const { memory, plan, destinations } = setUp(one, suite.seed);
          const broken = apply(plan);
          if (broken !== null) await checkRefusal(suite.under(), memory, broken, { destinations }, code);
        }
      });
    }
    const wrong: readonly (readonly [string, (good: Uint32Array, capacity: number) => Uint32Array])[] = [
      ["a destination past the memory", (good, capacity) => Uint32Array.of(...good.slice(1), capacity)],
      ["a destination of 2^32 - 1", (good) => Uint32Array.of(...good.slice(1), 0xffffffff)],
      ["one destination too few", (good) => good.slice(1)],
      ["one destination twice", (good) => Uint32Array.of(good[0]!, good[0]!, ...good.slice(2))],
      ["destinations that fall", (good) => good.slice().reverse()],
    ];
    for (const [name, spoil] of wrong) {
      it(name, async () => {
        const { memory, plan, destinations } = setUp(cases[0]!, suite.seed);
        await checkRefusal(suite.under(), memory, plan, {
          destinations: spoil(destinations, memory.capacity),
        });
      });
    }
    registerSampleRefusal(suite);
    it("a signal that has fired", async () => {
      const { memory, plan, destinations } = setUp(cases[0]!, suite.seed);
      const signal = AbortSignal.abort(new Error("the user left"));
      await checkRefusal(suite.under(), memory, plan, { destinations, signal }, "KVFOLD_ABORTED");
    });
  });
}

function registerSampleRefusal<Target>(suite: Suite<Target>): void {
  it("a fit without its query sample, or with another one", async () => {
    const one = EXECUTOR_CASES.find(({ name }) => name === "f32: fit, composite")!;
    const { memory, plan, destinations } = setUp(one, suite.seed);
    const other = fakeQueries(suite.seed + 1, memory.shape, one.samples!);
    for (const queries of [null, other]) {
      await checkRefusal(suite.under(), memory, plan, { destinations, queries }, "KVFOLD_PLAN_FIT");
    }
  });
}

function registerRandom<Target>(suite: Suite<Target>): void {
  it(`${suite.randomRuns} random shapes and plans`, async () => {
    const folded = fc.constantFrom(false, true, "composite" as const);
    const random = fc.record({ options: arbitraryShapeOptions(), seed: fc.nat(), folded }).chain((base) => {
      const memory = fakeTarget(base.seed, { ...base.options, folded: base.folded });
      const kind = fc.constantFrom("packed" as const, "anywhere" as const);
      return fc.record({ memory: fc.constant(memory), plan: arbitraryPlan(memory), kind });
    });
    const property = fc.asyncProperty(random, async ({ memory, plan, kind }) => {
      fc.pre(suite.under().executor.supports(memory.shape) === true);
      const own = copyTarget(memory); // a shrinking run folds the same memory several times
      await checkFold(suite.under(), own, plan, chooseDestinations(own, plan.rows, kind));
    });
    await fc.assert(property, fuzz(suite.randomRuns, suite.seed));
  });
}
