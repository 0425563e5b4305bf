/** The conformance suite of strategies: one call registers every promise as a test. */
import { fold, type MergeStrategy, PIN_LEVEL } from "@kvfold/core";
import { describe, expect, it, type TestContext } from "vitest";
import type { FakeCacheOptions } from "./fake-cache.js";
import { fakeShape } from "./fake-shape.js";
import { ratiosOf, STRATEGY_CASES, type StrategyCase } from "./strategy-cases.js";
import {
  checkAbort,
  checkImpossiblePins,
  checkPlanFits,
  checkRepeatable,
  checkUntouched,
  freshCache,
  type PlanRequest,
  type PlanResult,
  planOn,
  planOrRefusal,
} from "./strategy-checks.js";

/** What is special about one strategy. */
export interface TestStrategyOptions {
  /** Caches besides the standard ones. */
  readonly cases?: readonly StrategyCase[];
  /** Why the plan may have more rows than asked for, as a sentence; without it, it must not. */
  readonly mayMissTarget?: string;
  /** Why the strategy moves pinned cells or cells outside the range, as a sentence; without it, it must not. */
  readonly movesKeptCells?: string;
}

/**
 * Registers a suite with the promises of every strategy: a valid plan, no larger than the target, pins and cells outside
 * the range untouched, no token lost, the same plan for the same seed, the view only read, abort heeded, the identity
 * when nothing has to go; on one cell, on equal cells, on every type and layout, on a cache that was folded before.
 *
 * @param make makes the strategy; called for every test
 *
 * @example
 * testStrategy("every-other", () => everyOther());
 */
export function testStrategy(
  name: string,
  make: () => MergeStrategy,
  options: TestStrategyOptions = {},
): void {
  const missTarget = options.mayMissTarget !== undefined;
  describe(`strategy ${name}`, () => {
    it("says what it is", () => {
      const strategy = make();
      expect(strategy.name).toMatch(/^[a-z][a-z0-9-]*$/);
      expect(strategy.expression).toContain(strategy.name);
      expect(make().expression).toBe(strategy.expression);
    });
    for (const one of [...STRATEGY_CASES, ...(options.cases ?? [])]) registerCase(make, one, missTarget);
    registerKeeping(make, options.movesKeptCells);
    registerBehaviour(make);
  });
}

// ---------------------------------------------------------------------------------------------------------------

/** A cache with something in it for every strategy. */
const ORDINARY: FakeCacheOptions = { cells: 64, keyType: "f16", needles: [30], duplicates: [[8, 9]] };
/** The same without what the engine has to capture. */
const BARE: FakeCacheOptions = { ...ORDINARY, withoutSignals: true, withoutTokens: true };
/** Large enough that a strategy which never looks at its signal is noticed. */
const LARGE: FakeCacheOptions = { cells: 2048, keyType: "f16", slots: "front" };

/** Skips a cache that the strategy does not apply to; the reason must be a sentence. */
function skipUnlessApplies(context: TestContext, strategy: MergeStrategy, cache: FakeCacheOptions): void {
  const reason = strategy.appliesTo(fakeShape(cache));
  if (reason === true) return;
  expect(reason, "the reason is a sentence").toMatch(/\S+ \S+/);
  context.skip(reason);
}

function registerCase(make: () => MergeStrategy, one: StrategyCase, missTarget: boolean): void {
  const need = async (context: TestContext, request: PlanRequest): Promise<PlanResult> => {
    skipUnlessApplies(context, make(), one.cache);
    const result = await planOrRefusal(make(), one, request);
    return typeof result === "string" ? context.skip(result) : result;
  };
  describe(one.name, () => {
    for (const ratio of ratiosOf(one)) {
      it(`plans at ${ratio}x`, async (context) => {
        checkPlanFits(await need(context, { ratio }), missTarget);
      });
    }
    it("is repeatable", async (context) => {
      const request = { ratio: ratiosOf(one).at(-1) ?? 1, seed: 7 };
      await checkRepeatable(make, one.cache, request, await need(context, request));
    });
    it("folds, and folds the folded cache", async (context) => {
      const cache = freshCache(one.cache);
      await need(context, { ratio: Math.min(2, cache.shape.cells) });
      for (let round = 0; round < 2; round++) {
        const { cells } = cache.shape;
        const report = await fold(cache, { strategy: make(), keep: { ratio: Math.min(2, cells) } });
        expect(report.before).toBe(cells);
        expect(cache.shape.cells).toBe(report.after);
      }
    });
  });
}

function registerKeeping(make: () => MergeStrategy, moves: string | undefined): void {
  const cells = ORDINARY.cells!;
  describe("keeps", () => {
    for (const [level, value] of Object.entries(PIN_LEVEL).filter(([, value]) => value > 0)) {
      it(`pins of level ${level}`, async (context) => {
        if (moves !== undefined) context.skip(moves);
        skipUnlessApplies(context, make(), ORDINARY);
        const pins = new Uint8Array(cells);
        for (const cell of [0, 1, 21, 22, 40, cells - 1]) pins[cell] = value;
        checkUntouched(await planOn(make(), ORDINARY, { ratio: 4, pins }));
      });
    }
    for (const range of [
      { from: 0, to: 40 },
      { from: 16, to: cells },
      { from: 16, to: 48 },
    ]) {
      it(`cells outside ${range.from} to ${range.to}`, async (context) => {
        if (moves !== undefined) context.skip(moves);
        skipUnlessApplies(context, make(), ORDINARY);
        checkUntouched(await planOn(make(), ORDINARY, { ratio: 1.5, range }));
      });
    }
    it("pins that leave no room", async (context) => {
      if (moves !== undefined) context.skip(moves);
      skipUnlessApplies(context, make(), ORDINARY);
      await checkImpossiblePins(make(), ORDINARY);
    });
  });
}

function registerBehaviour(make: () => MergeStrategy): void {
  it("stops within 50 ms of work after an abort", async (context) => {
    skipUnlessApplies(context, make(), LARGE);
    await checkAbort(make(), LARGE, 4);
  });
  it("asks for the signals that it reads", async (context) => {
    skipUnlessApplies(context, make(), BARE);
    const folding = fold(freshCache(BARE), { strategy: make(), keep: { ratio: 2 } });
    if (make().signals.length === 0) await folding;
    else await expect(folding).rejects.toMatchObject({ code: "KVFOLD_SIGNAL_MISSING" });
  });
}
