/** Calls the code of a strategy: what it throws, and what is wrong with its plan, gets its name. */
import { ERROR_CODES, isKvfoldError, KvfoldError, throwIfAborted } from "./errors.js";
import { show } from "./options.js";
import { checkPlan } from "./plan/check.js";
import type { MergePlan } from "./plan/plan.js";
import type { MergeStrategy, PlanContext } from "./strategy.js";
import type { CacheView } from "./view.js";

/**
 * @throws KvfoldError KVFOLD_NOT_APPLICABLE with the strategy's reason, KVFOLD_SIGNAL_MISSING with how to get it
 */
export function checkApplies(strategy: MergeStrategy, view: CacheView): void {
  const applies = guard(strategy, () => strategy.appliesTo(view.shape));
  if (applies !== true) {
    throw new KvfoldError("KVFOLD_NOT_APPLICABLE", String(applies), { who: strategy.name });
  }
  for (const signal of strategy.signals) {
    const present = signal === "tokens" ? view.tokens !== null : (view.signals[signal] ?? null) !== null;
    if (present) continue;
    throw new KvfoldError("KVFOLD_SIGNAL_MISSING", `the cache has no signal ${signal}`, {
      who: strategy.name,
      hint: SIGNAL_HINT[signal] ?? "no engine captures a signal of that name",
    });
  }
}

const SIGNAL_HINT: Readonly<Record<string, string>> = {
  tokens: "feed the prompt as token ids through this engine, so that it knows them",
  queries: "ask for the signal queries before the prompt is read: it cannot be had afterwards",
  repeat: "ask for the signal repeat, which reads the context a second time",
  tokenLogProbs: "ask for the signal tokenLogProbs before the prompt is read: it cannot be had afterwards",
};

/** Runs code of a strategy; what it throws gets its name. */
function guard<T>(strategy: MergeStrategy, call: () => T): T {
  try {
    return call();
  } catch (cause) {
    throw strategyError(strategy, cause);
  }
}

function strategyError(strategy: MergeStrategy, cause: unknown): KvfoldError {
  if (isKvfoldError(cause)) return cause.who === undefined ? named(strategy, cause, cause.what) : cause;
  if (isForeignKvfoldError(cause)) return named(strategy, cause, cause.what);
  const what = cause instanceof Error ? `${cause.name}: ${cause.message}` : show(cause);
  return new KvfoldError("KVFOLD_STRATEGY", `the strategy threw ${what}`, {
    who: strategy.name,
    hint: "nothing was changed; the cause has the stack",
    cause,
  });
}

/** A plug-in may bring its own copy of this package, whose errors are of another class, but mean the same. */
function isForeignKvfoldError(cause: unknown): cause is KvfoldError {
  if (!(cause instanceof Error) || cause.name !== "KvfoldError") return false;
  const { code, what } = cause as Partial<KvfoldError>;
  return typeof code === "string" && Object.hasOwn(ERROR_CODES, code) && typeof what === "string";
}

function named(strategy: MergeStrategy, cause: KvfoldError, what: string): KvfoldError {
  const hint = cause.hint === undefined ? {} : { hint: cause.hint };
  return new KvfoldError(cause.code, what, { who: strategy.name, ...hint, cause });
}

/** @throws KvfoldError KVFOLD_STRATEGY for errors that are not kvfold's own, KVFOLD_ABORTED once the signal has fired */
export async function makePlan(
  strategy: MergeStrategy,
  view: CacheView,
  context: PlanContext,
): Promise<MergePlan> {
  try {
    return await strategy.plan(view, context);
  } catch (cause) {
    // a strategy may pass on whatever its own calls throw when the signal fires
    throwIfAborted(context.signal, strategy.name);
    throw strategyError(strategy, cause);
  }
}

/** `checkPlan`, and the name of the strategy in what it says. */
export function checkStrategyPlan(strategy: MergeStrategy, plan: MergePlan, view: CacheView): void {
  try {
    checkPlan(plan, view);
    if (plan.rows > view.shape.cells) {
      throw new KvfoldError("KVFOLD_PLAN_LIMIT", `${plan.rows} rows for ${view.shape.cells} cells`);
    }
  } catch (cause) {
    if (!isKvfoldError(cause)) throw strategyError(strategy, cause);
    throw named(strategy, cause, `the plan is wrong: ${cause.what}`);
  }
}
