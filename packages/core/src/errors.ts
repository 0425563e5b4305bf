/** The one error type of kvfold and the table of its stable codes. */

/**
 * Every code that kvfold can raise, with one sentence on what it means. `docs/errors.md` explains each at length.
 * Codes are a contract: they are added, never renamed.
 */
export const ERROR_CODES = {
  // caller's words
  KVFOLD_ARGUMENT: "an argument has the wrong type or lies outside its range",
  KVFOLD_RATIO: "the ratio is not a finite number of at least 1 that leaves a cell",
  KVFOLD_BUDGET: "the pins alone need more cells than the budget allows",
  KVFOLD_UNKNOWN_OPTION: "an option that the strategy does not have",
  KVFOLD_UNKNOWN_STRATEGY: "no strategy, scorer or wrapper of that name is registered",
  KVFOLD_EXPRESSION: "a strategy expression cannot be read",
  KVFOLD_STRATEGY: "a strategy failed in a way of its own, or a part of it broke its contract",
  KVFOLD_MODULE: "a strategy module cannot be loaded or exports no strategy",
  // plans
  KVFOLD_PLAN_SHAPE: "an array of the plan has the wrong length for the cache or for its own counts",
  KVFOLD_PLAN_LIMIT: "the plan is larger than the limits allow",
  KVFOLD_PLAN_MEMBER_RANGE: "a member lies outside the cache",
  KVFOLD_PLAN_NOT_DISJOINT: "a cell is a member of two rows (of one head, in a composite plan)",
  KVFOLD_PLAN_ORDER: "row positions fall, or the last row does not carry the largest position",
  KVFOLD_PLAN_COUNTS: "tokens are lost or invented: counts plus dropped differ from the tokens of the cache",
  KVFOLD_PLAN_WEIGHT: "a weight is not a finite number",
  KVFOLD_PLAN_BIAS:
    "a bias is not finite, is 16 or more in magnitude, or changes in a row that only keeps a cell",
  KVFOLD_PLAN_FIT:
    "a fit request or given values break a rule, or the query sample is not the one that the fit names",
  KVFOLD_PLAN_PIN: "a pinned cell did not stay at its level",
  KVFOLD_PLAN_COMPOSE: "two plans cannot be expressed as one",
  KVFOLD_PLAN_FILE: "a plan file is damaged, of another version, or not a plan file",
  // caches and views
  KVFOLD_VIEW_STALE: "the view belongs to an earlier state of the cache",
  KVFOLD_CACHE_BUSY: "the cache is leased or a fold is in progress",
  KVFOLD_CACHE_EMPTY: "the sequence holds no cells",
  KVFOLD_CACHE_FULL: "the tokens do not fit the context",
  KVFOLD_DISPOSED: "the object was already freed",
  KVFOLD_SIGNAL_MISSING: "a strategy needs a signal that was not captured",
  KVFOLD_NOT_APPLICABLE: "the strategy does not work on this cache",
  KVFOLD_REWIND: "the sequence cannot be cut there because those cells are folded",
  // execution
  KVFOLD_UNSUPPORTED: "the executor or the engine does not support this cache",
  KVFOLD_NATIVE_MISSING: "the native add-on is not built or cannot be loaded",
  KVFOLD_NATIVE: "the native executor refused or failed",
  KVFOLD_FAULT: "a fault injected by a test",
  KVFOLD_ABORTED: "the caller cancelled the work",
  // llama.cpp
  KVFOLD_LLAMA_VERSION: "the llama.cpp libraries are missing or of another version",
  KVFOLD_LLAMA_SELF_TEST: "the start-up self-test of the live cache failed",
  KVFOLD_MODEL_FILE: "the model file is missing, damaged or not a GGUF",
  KVFOLD_MODEL_UNSUPPORTED: "the model has a cache that kvfold does not fold",
  KVFOLD_CONTEXT: "llama.cpp could not create a context with these settings",
  KVFOLD_DECODE: "llama.cpp could not decode the batch",
  KVFOLD_STATE: "a snapshot does not fit this context",
  // files and tools
  KVFOLD_FILE: "a file cannot be read or written",
  KVFOLD_INTERNAL: "a broken promise inside kvfold; please report it",
} as const;

/** A stable error code. */
export type KvfoldErrorCode = keyof typeof ERROR_CODES;

/** What a `KvfoldError` is made of. */
export interface KvfoldErrorInit {
  /** Who speaks: a strategy, an executor, a command. */
  readonly who?: string;
  /** What the caller can do next, as one sentence. */
  readonly hint?: string;
  readonly cause?: unknown;
}

/**
 * An error with a stable `code`, who raised it, what is wrong and what to do next.
 *
 * @example
 * throw new KvfoldError("KVFOLD_PLAN_NOT_DISJOINT", "cell 12 is in two groups", {
 *   who: "mean", hint: "groups must be disjoint",
 * });
 */
export class KvfoldError extends Error {
  readonly code: KvfoldErrorCode;
  readonly who: string | undefined;
  readonly hint: string | undefined;

  constructor(code: KvfoldErrorCode, what: string, init: KvfoldErrorInit = {}) {
    const who = init.who === undefined ? "" : `[${init.who}] `;
    const hint = init.hint === undefined ? "" : `; ${init.hint}`;
    super(`[kvfold] ${who}${what}${hint}`, init.cause === undefined ? undefined : { cause: init.cause });
    this.name = "KvfoldError";
    this.code = code;
    this.who = init.who;
    this.hint = init.hint;
    this.what = what;
  }

  /** The bare sentence, without who and hint. */
  readonly what: string;
}

/** True for errors that kvfold raised on purpose, by whichever copy of this package. */
export function isKvfoldError(error: unknown): error is KvfoldError {
  if (error instanceof KvfoldError) return true;
  return (
    error instanceof Error &&
    error.name === "KvfoldError" &&
    Object.hasOwn(ERROR_CODES, String((error as KvfoldError).code))
  );
}

/** Throws `KVFOLD_ABORTED` when the caller's signal has fired. */
export function throwIfAborted(signal: AbortSignal | undefined, who?: string): void {
  if (signal?.aborted) {
    throw new KvfoldError("KVFOLD_ABORTED", "cancelled", {
      ...(who === undefined ? {} : { who }),
      cause: signal.reason,
    });
  }
}
