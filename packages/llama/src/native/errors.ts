/** Errors of the bridge as `KvfoldError`s. */
import { ERROR_CODES, KvfoldError, type KvfoldErrorCode } from "@kvfold/core";

/** Who speaks in errors of this package. */
export const WHO = "llama";

const isCode = (code: unknown): code is KvfoldErrorCode =>
  typeof code === "string" && Object.hasOwn(ERROR_CODES, code);

/** The same error with its code and hint; what carries no code of ours becomes KVFOLD_NATIVE. */
export function toKvfoldError(error: unknown): KvfoldError {
  if (error instanceof KvfoldError) return error;
  const raw = (error instanceof Error ? error : new Error(String(error))) as Error & {
    code?: unknown;
    hint?: unknown;
  };
  const hint = typeof raw.hint === "string" && raw.hint !== "" ? { hint: raw.hint } : {};
  return new KvfoldError(isCode(raw.code) ? raw.code : "KVFOLD_NATIVE", raw.message.trim(), {
    who: WHO,
    ...hint,
    cause: error,
  });
}

/** An error of this package. */
export const failure = (code: KvfoldErrorCode, what: string, hint?: string): KvfoldError =>
  new KvfoldError(code, what, { who: WHO, ...(hint === undefined ? {} : { hint }) });

/** A bad argument. */
export const wrongArgument = (what: string, hint?: string): KvfoldError =>
  failure("KVFOLD_ARGUMENT", what, hint);
