/** Executors that solve wrongly, or say something else than they did, are caught. */
import {
  type Executor,
  type FitOutcome,
  type MemoryTarget,
  type MergePlan,
  referenceExecutor,
} from "@kvfold/core";
import { describe, expect, it } from "vitest";
import { boundFor } from "./bounds.js";
import { EXECUTOR_CASES } from "./executor-cases.js";
import { checkFold, chooseDestinations } from "./executor-checks.js";
import { fakeQueries } from "./fake-queries.js";
import { fakeTarget } from "./fake-target.js";

const adapt = (memory: MemoryTarget): { target: MemoryTarget } => ({ target: memory });

function setUp(part: string) {
  const one = EXECUTOR_CASES.find(({ name }) => name.includes(part))!;
  const memory = fakeTarget(1, one.memory);
  const queries = fakeQueries(1, memory.shape, one.samples!);
  const plan = one.plan(memory, queries);
  return { memory, plan, queries, destinations: chooseDestinations(memory, plan.rows, "packed") };
}

function check(part: string, prepare: Executor["prepare"]): Promise<void> {
  const { memory, plan, queries, destinations } = setUp(part);
  const executor = { ...referenceExecutor, prepare };
  return checkFold({ executor, adapt }, memory, plan, destinations, queries);
}

/** The reference, on another request than it was given. */
const solving =
  (
    change: (fit: NonNullable<MergePlan["fit"]>) => Partial<NonNullable<MergePlan["fit"]>>,
  ): Executor["prepare"] =>
  (target, plan, options) =>
    referenceExecutor.prepare(
      target,
      { ...plan, fit: plan.fit && { ...plan.fit, ...change(plan.fit) } },
      options,
    );

/** The reference, which reports something else. */
const reporting =
  (change: (outcome: FitOutcome) => readonly FitOutcome[] | null): Executor["prepare"] =>
  async (target, plan, options) => {
    const transaction = await referenceExecutor.prepare(target, plan, options);
    const changed = transaction.fits!.map(change);
    return { ...transaction, fits: changed.includes(null) ? null : (changed as FitOutcome[][]).flat() };
  };

const COMPOSITE = "f32: fit, composite";

describe("a planted executor is caught when it", () => {
  it.each<[string, string, Executor["prepare"], RegExp]>([
    [
      "solves nothing",
      COMPOSITE,
      solving(({ free }) => ({ free: free.map(() => 0) })),
      /error before|outcomes/,
    ],
    ["holds back too much", COMPOSITE, solving(() => ({ lambda: 300 })), /those of the reference by/],
    [
      "holds nothing more strongly",
      COMPOSITE,
      solving(({ free }) => ({ free: free.map((factor) => (factor === 0 ? 0 : 1)) })),
      /held rows moved/,
    ],
    ["turns queries elsewhere", COMPOSITE, solving(() => ({ horizon: 5 })), /the error before is reported/],
    ["uses fewer query rows", COMPOSITE, solving(() => ({ maxRows: 70 })), /the error before is reported/],
    ["lets other rows judge", COMPOSITE, solving(() => ({ holdout: 3 })), /the error before is reported/],
    [
      "forgets the biases of the cells",
      "with biases and a source map",
      (target, plan, options) => referenceExecutor.prepare({ ...target, bias: null }, plan, options),
      /the error (before|after) is reported/,
    ],
    ["reports nothing", COMPOSITE, reporting(() => null), /none is reported/],
    ["leaves a head out", COMPOSITE, reporting((one) => (one.head === 0 ? [] : [one])), /0 outcomes/],
    ["reports a head twice", COMPOSITE, reporting((one) => [one, one]), /2 outcomes/],
    [
      "reports a better result",
      COMPOSITE,
      reporting((one) => [{ ...one, after: one.after * 0.9 }]),
      /the error after is reported/,
    ],
    ["calls it dropped", COMPOSITE, reporting((one) => [{ ...one, accepted: false }]), /accepted: false/],
    [
      "drops what helps",
      COMPOSITE,
      async (target, plan, options) => {
        const solved = await referenceExecutor.prepare(target, plan, options);
        const kept = await referenceExecutor.prepare(target, { ...plan, fit: null }, options);
        const dropped = solved.fits!.map((one) => ({ ...one, after: one.before, accepted: false }));
        return { ...kept, fits: dropped };
      },
      /dropped, the reference takes it/,
    ],
    [
      "moves a row that is read-only",
      COMPOSITE,
      (target, plan, options) => {
        const free = plan.fit!.free.map((bit, i) => (i % plan.rows === 0 && i < plan.rows ? 1 : bit));
        return referenceExecutor.prepare(target, { ...plan, fit: { ...plan.fit!, free } }, options);
      },
      /values of layer 0/,
    ],
  ])("%s", async (_name, part, prepare, message) => {
    await expect(check(part, (...args) => referenceExecutor.prepare(...args))).resolves.toBeUndefined();
    await expect(check(part, prepare)).rejects.toThrow(message);
  });
});

describe("the bound of a fit", () => {
  const sizes = { rows: 96, cells: 24, keyDim: 32, free: 6, lambda: 0.01, score: 5, value: 3, length: 0.5 };

  it("is small in f32 and grows with the type", () => {
    // a tenth of a percent of the outputs, and of the residual
    const f32 = boundFor("fit", "f32", sizes);
    expect(f32.output).toBeLessThan(1e-3);
    expect(f32.missing).toBeLessThan(1e-3);
    expect(boundFor("fit", "q4_0", sizes).output).toBeGreaterThan(boundFor("fit", "q8_0", sizes).output);
  });

  it("grows with the condition of the system", () => {
    const { missing } = boundFor("fit", "f32", sizes);
    expect(boundFor("fit", "f32", { ...sizes, lambda: 0.001 }).missing).toBeGreaterThan(5 * missing);
  });
});
