/** `fold`: view, plan, check, apply. All of it happens, or the cache is as it was. */
import { type Budget, cellBytes, type Keep, targetCells } from "./budget.js";
import type { ApplyReport, CacheLease, KvCache } from "./cache.js";
import { checkApplies, checkStrategyPlan, makePlan } from "./call-strategy.js";
import { isKvfoldError, KvfoldError, throwIfAborted } from "./errors.js";
import { type FitSummary, summariseFits } from "./fits.js";
import { type Logger, silentLogger } from "./log.js";
import { show } from "./options.js";
import { hashPlan } from "./plan/hash.js";
import { isNoOpPlan } from "./plan/no-op.js";
import type { MergePlan } from "./plan/plan.js";
import { createRandom } from "./random.js";
import { isStrategy, type MergeStrategy, type PlanContext } from "./strategy.js";

export interface FoldOptions {
  readonly strategy: MergeStrategy;
  readonly keep: Keep;
  /** Cells that may change, `from <= i < to`; default: all. */
  readonly range?: { readonly from: number; readonly to: number };
  /** Default 0. The same seed gives the same plan. */
  readonly seed?: number;
  /** Plan and check, but change nothing. */
  readonly dryRun?: boolean;
  readonly signal?: AbortSignal;
  readonly log?: Logger;
}

export interface FoldReport {
  /** Expression of the strategy. */
  readonly strategy: string;
  /** Cells before. */
  readonly before: number;
  /** Cells after; in a dry run, those of the plan. */
  readonly after: number;
  /** before / after */
  readonly ratio: number;
  /** Bytes of keys and values that the freed cells occupied; 0 when nothing was applied. */
  readonly bytesFreed: number;
  /** How the fits of the plan went; null when nothing was fitted. */
  readonly fits: FitSummary | null;
  readonly plan: MergePlan;
  readonly planHash: string;
  /** False when nothing was applied: a dry run, or a plan that keeps every cell as it is. */
  readonly changed: boolean;
  /** What the caller should know, as a sentence: why nothing changed, or that the target was missed. */
  readonly note?: string;
  /** Milliseconds. */
  readonly timings: Readonly<Record<"view" | "plan" | "check" | "apply", number>>;
}

/**
 * Folds a cache in place.
 *
 * @throws KvfoldError KVFOLD_ARGUMENT, KVFOLD_RATIO, KVFOLD_BUDGET, KVFOLD_NOT_APPLICABLE, KVFOLD_SIGNAL_MISSING,
 * KVFOLD_PLAN_* for a plan that breaks a rule, KVFOLD_STRATEGY for anything else that a strategy throws,
 * KVFOLD_ABORTED, and what the cache throws. The cache is then as it was.
 *
 * @example
 * const report = await fold(cache, { strategy: evict(), keep: { ratio: 4 } });
 * report.after; // a quarter of report.before
 */
export async function fold(cache: KvCache, options: FoldOptions): Promise<FoldReport> {
  if (!isStrategy(options.strategy)) {
    const hint = "make one: fold(cache, { strategy: evict(), keep: { ratio: 4 } })";
    throw new KvfoldError("KVFOLD_ARGUMENT", `the strategy is ${show(options.strategy)}`, {
      who: "fold",
      hint,
    });
  }
  const random = createRandom(options.seed ?? 0);
  throwIfAborted(options.signal, "fold");
  const clock = createClock();
  const lease = await cache.lease();
  try {
    clock.lap("view");
    return await foldLease(cache, lease, options, random, clock);
  } finally {
    lease.release();
  }
}

// ---------------------------------------------------------------------------------------------------------------

async function foldLease(
  cache: KvCache,
  lease: CacheLease,
  options: FoldOptions,
  random: () => number,
  clock: Clock,
): Promise<FoldReport> {
  const { strategy, signal } = options;
  checkApplies(strategy, lease);
  const { range, budget } = budgetOf(cache, lease, options);
  const context = { ...budget, range, pins: null, random, ops: cache.ops, log: options.log ?? silentLogger };
  const plan = await makePlan(strategy, lease, {
    ...context,
    signal: signal ?? new AbortController().signal,
  });
  clock.lap("plan");
  throwIfAborted(signal, "fold");
  checkStrategyPlan(strategy, plan, lease);
  const noOp = isNoOpPlan(plan, lease);
  const planHash = hashPlan(plan);
  clock.lap("check");
  const changed = !noOp && options.dryRun !== true;
  const { bytesFreed, fits } = changed
    ? await applyPlan(cache, lease, plan, signal)
    : { bytesFreed: 0, fits: null };
  if (changed) clock.lap("apply");
  const before = plan.cells;
  const note = noteOf(plan, budget, noOp);
  return {
    strategy: strategy.expression,
    before,
    after: plan.rows,
    ratio: before / plan.rows,
    bytesFreed,
    fits: summariseFits(fits),
    plan,
    planHash,
    changed,
    ...(note === null ? {} : { note }),
    timings: clock.laps,
  };
}

interface Clock {
  /** Ends a step that began where the last one ended. */
  lap(name: keyof FoldReport["timings"]): void;
  readonly laps: FoldReport["timings"];
}

function createClock(): Clock {
  const laps = { view: 0, plan: 0, check: 0, apply: 0 };
  let last = performance.now();
  return {
    laps,
    lap: (name) => {
      const now = performance.now();
      laps[name] = now - last;
      last = now;
    },
  };
}

function budgetOf(cache: KvCache, lease: CacheLease, options: FoldOptions): { range: Range; budget: Budget } {
  const { cells } = lease.shape;
  const range = checkRange(options.range, cells);
  const { scope } = options.strategy;
  const { keep } = options;
  const size =
    typeof keep === "object" && keep !== null && "bytes" in keep ? { cellBytes: cellBytes(lease.shape) } : {};
  return { range, budget: targetCells({ cells, tokensSeen: cache.tokensSeen, range, scope, ...size }, keep) };
}

type Range = PlanContext["range"];

function checkRange(range: FoldOptions["range"], cells: number): Range {
  if (range === undefined) return { from: 0, to: cells };
  const { from, to } = range;
  if (Number.isInteger(from) && Number.isInteger(to) && from >= 0 && from <= to && to <= cells)
    return { from, to };
  throw new KvfoldError("KVFOLD_ARGUMENT", `the range is ${show(range)}, the cache has ${cells} cells`, {
    who: "fold",
    hint: "give whole numbers with 0 <= from <= to <= cells",
  });
}

async function applyPlan(
  cache: KvCache,
  lease: CacheLease,
  plan: MergePlan,
  signal: AbortSignal | undefined,
): Promise<ApplyReport> {
  try {
    return await cache.apply(lease, plan, signal === undefined ? {} : { signal });
  } catch (cause) {
    if (isKvfoldError(cause)) throw cause;
    throwIfAborted(signal, cache.name);
    throw new KvfoldError("KVFOLD_INTERNAL", "the cache failed", { who: cache.name, cause });
  }
}

function noteOf(plan: MergePlan, { target }: Budget, noOp: boolean): string | null {
  const missed = plan.rows > target ? `${plan.rows} cells stay, where ${target} were asked for` : null;
  if (noOp) return missed === null ? "nothing to fold" : `nothing was folded: ${missed}`;
  return missed;
}
