/** The promises of a strategy as plain functions: each returns, or throws an error that names the broken promise. */
import { isDeepStrictEqual } from "node:util";
import {
  type CacheView,
  checkPlan,
  createRandom,
  isKvfoldError,
  isNoOpPlan,
  type MemoryCache,
  type MergePlan,
  type MergeStrategy,
  PIN_LEVEL,
  type PlanContext,
  silentLogger,
  targetCells,
} from "@kvfold/core";
import { type FakeCacheOptions, fakeCacheMaker } from "./fake-cache.js";
import { copyTarget } from "./fake-target.js";
import { firstDifference } from "./read-rows.js";
import type { StrategyCase } from "./strategy-cases.js";
import { watchView } from "./watch-view.js";

/** What a strategy is asked for. */
export interface PlanRequest {
  readonly ratio: number;
  /** [all cells] */
  readonly range?: PlanContext["range"];
  /** [none] */
  readonly pins?: Uint8Array | null;
  /** [0] */
  readonly seed?: number;
  readonly signal?: AbortSignal;
}

const fail = (message: string): never => {
  throw new Error(message);
};

const makers = new WeakMap<FakeCacheOptions, () => MemoryCache>();

/** A fresh fake cache of seed 1; the same options object gives equal caches. */
export function freshCache(options: FakeCacheOptions): MemoryCache {
  const make = makers.get(options) ?? fakeCacheMaker(1, options);
  makers.set(options, make);
  return make();
}

/** The context that `fold` would hand to the strategy. */
export function planContext(
  cache: MemoryCache,
  view: CacheView,
  strategy: Pick<MergeStrategy, "scope">,
  request: PlanRequest,
): PlanContext {
  const { cells } = view.shape;
  const { ratio, range = { from: 0, to: cells }, pins = null, seed = 0 } = request;
  const budget = targetCells(
    { cells, tokensSeen: cache.tokensSeen, range, scope: strategy.scope },
    { ratio },
  );
  return {
    ...budget,
    range,
    pins,
    random: createRandom(seed),
    ops: cache.ops,
    signal: request.signal ?? new AbortController().signal,
    log: silentLogger,
  };
}

/** What came of one request. */
export interface PlanResult {
  readonly plan: MergePlan;
  readonly view: CacheView;
  readonly context: PlanContext;
}

/** Makes a plan on a fresh fake cache; the view is watched and the memory compared. */
export async function planOn(
  strategy: MergeStrategy,
  options: FakeCacheOptions,
  request: PlanRequest,
): Promise<PlanResult> {
  const cache = freshCache(options);
  const before = copyTarget(cache.memory());
  const lease = await cache.lease();
  try {
    const watched = watchView(lease);
    const context = planContext(cache, watched.view, strategy, request);
    const pins = context.pins?.slice() ?? null;
    const plan = await strategy.plan(watched.view, context);
    const written = watched.written();
    if (written.length > 0) fail(`the view was written to: ${written.join(", ")}`);
    if (!isDeepStrictEqual(pins, context.pins)) fail("the pins of the context were written to");
    const difference = firstDifference(before, cache.memory());
    if (difference !== null) fail(`the cache was written to: ${difference}`);
    return { plan, view: lease, context };
  } finally {
    lease.release();
  }
}

/** Valid, small enough, all tokens accounted for, and the identity when nothing has to go. */
export function checkPlanFits({ plan, view, context }: PlanResult, mayMissTarget: boolean): void {
  checkPlan(plan, view);
  const tokens = view.counts.reduce((sum, count) => sum + count, 0);
  const kept = plan.counts.reduce((sum, count) => sum + count, 0);
  if (kept + plan.dropped !== tokens)
    fail(`counts: ${kept} kept and ${plan.dropped} dropped of ${tokens} tokens`);
  if (plan.rows > context.target && !mayMissTarget) {
    fail(`size: ${plan.rows} rows, but ${context.target} may stay`);
  }
  if (context.target >= view.shape.cells && !isNoOpPlan(plan, view)) {
    fail("the target is not smaller than the cache, but the plan changes it");
  }
}

/**
 * A plan, or why the strategy may leave this cache alone: it is too small for the cells that the strategy keeps of its
 * own accord, or in a state that its shape does not tell (`appliesTo` sees no counts and no bias).
 */
export async function planOrRefusal(
  strategy: MergeStrategy,
  { cache, tiny }: StrategyCase,
  request: PlanRequest,
): Promise<PlanResult | string> {
  try {
    const result = await planOn(strategy, cache, request);
    const { plan, view, context } = result;
    const alone = tiny && plan.rows > context.target && isNoOpPlan(plan, view);
    return alone ? `all ${plan.rows} cells stay` : result;
  } catch (error) {
    if (!isKvfoldError(error)) throw error;
    const small = tiny && error.code === "KVFOLD_BUDGET";
    const state = cache.folded && error.code === "KVFOLD_NOT_APPLICABLE";
    if (!small && !state) throw error;
    return error.what;
  }
}

/** Cells that are pinned, or outside the range, come out as rows of their own with the same bytes. */
export function checkUntouched({ plan, view, context }: PlanResult): void {
  const { cells } = view.shape;
  const { from, to } = context.range;
  const exact = Uint8Array.from({ length: cells }, (_, cell) =>
    cell < from || cell >= to ? PIN_LEVEL.exact : (context.pins?.[cell] ?? PIN_LEVEL.none),
  );
  checkPlan({ ...plan, pins: exact }, view);
}

/**
 * The same request gives the same plan, from the same strategy and from a new one.
 * @param first the plan of another strategy that `make` made; default: one is asked for
 */
export async function checkRepeatable(
  make: () => MergeStrategy,
  options: FakeCacheOptions,
  request: PlanRequest,
  first?: PlanResult,
): Promise<void> {
  const strategy = make();
  const { plan } = await planOn(strategy, options, request);
  const again = await planOn(strategy, options, request);
  const other = first ?? (await planOn(make(), options, request));
  if (!isDeepStrictEqual(plan, again.plan)) fail("the same strategy gave two plans for one seed");
  if (!isDeepStrictEqual(plan, other.plan)) fail("a new strategy gave another plan for the same seed");
}

/** Milliseconds of work that may pass before a strategy notices an abort. */
const PATIENCE_MS = 50;

/** CPU time of this process in milliseconds: another process on the machine cannot make a test fail. */
function workedSince(start: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(start);
  return (user + system) / 1000;
}

/** Of so many attempts the quickest counts: compilers and garbage collectors work at their own times. */
const ATTEMPTS = 3;

/** Fires a signal while the strategy is at work: it stops with KVFOLD_ABORTED, or is done, within 50 ms of work. */
export async function checkAbort(
  strategy: MergeStrategy,
  options: FakeCacheOptions,
  ratio: number,
): Promise<void> {
  await planOn(strategy, options, { ratio }); // compiled before the clock runs
  for (const delay of ["before", "during"] as const) {
    let worked = Number.POSITIVE_INFINITY;
    for (let attempt = 0; attempt < ATTEMPTS && worked > PATIENCE_MS; attempt++)
      worked = Math.min(worked, await workAfterAbort(strategy, options, ratio, delay));
    if (worked > PATIENCE_MS) fail(`aborted ${delay} planning: worked on for ${worked.toFixed(0)} ms`);
  }
}

/** Milliseconds of work from the call on, with a signal that is aborted before it or fires as soon as it can. */
async function workAfterAbort(
  strategy: MergeStrategy,
  options: FakeCacheOptions,
  ratio: number,
  delay: "before" | "during",
): Promise<number> {
  const cache = freshCache(options);
  const lease = await cache.lease();
  const controller = new AbortController();
  if (delay === "before") controller.abort();
  const context = planContext(cache, lease, strategy, { ratio, signal: controller.signal });
  const start = process.cpuUsage();
  const planning = Promise.resolve().then(() => strategy.plan(lease, context));
  if (delay === "during") setImmediate(() => controller.abort());
  const error = await planning.then(() => null).catch((thrown: unknown) => thrown);
  lease.release();
  const worked = workedSince(start);
  if (error === null || (isKvfoldError(error) && error.code === "KVFOLD_ABORTED")) return worked;
  throw new Error(`aborted ${delay} planning: threw something else than KVFOLD_ABORTED`, { cause: error });
}

/** Pins that leave too little room: KVFOLD_BUDGET, or a plan that keeps the pins. Never one that breaks them. */
export async function checkImpossiblePins(strategy: MergeStrategy, options: FakeCacheOptions): Promise<void> {
  const pins = new Uint8Array(options.cells ?? 16).fill(PIN_LEVEL.exact);
  let result: PlanResult;
  try {
    result = await planOn(strategy, options, { ratio: 4, pins });
  } catch (error) {
    if (isKvfoldError(error) && error.code === "KVFOLD_BUDGET") return;
    throw error;
  }
  checkUntouched(result);
}
