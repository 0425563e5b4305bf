/** Errors of the add-on as `KvfoldError`s. */
import { ERROR_CODES, KvfoldError, type KvfoldErrorCode } from "@kvfold/core";

const isCode = (code: unknown): code is KvfoldErrorCode => typeof code === "string" && code in ERROR_CODES;

/** The same error with its code; what carries no code of ours becomes KVFOLD_NATIVE. */
export function toKvfoldError(error: unknown, who: string): KvfoldError {
  if (error instanceof KvfoldError) return error;
  const message = error instanceof Error ? error.message : String(error);
  const code = error instanceof Error ? (error as { code?: unknown }).code : undefined;
  return new KvfoldError(isCode(code) ? code : "KVFOLD_NATIVE", message, { who, cause: error });
}

/** Runs a call of the add-on; what it throws comes out as a KvfoldError. */
export async function callNative<T>(who: string, call: () => T | Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    throw toKvfoldError(error, who);
  }
}
