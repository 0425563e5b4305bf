/** An AbortSignal as a flag that native threads poll. */
import { throwIfAborted } from "@kvfold/core";
import type { FlagExternal, NativeAddon } from "./addon.js";

/**
 * Runs a job with a flag that is raised when the signal fires; without a signal, with none.
 * @throws KvfoldError KVFOLD_ABORTED, with the signal's reason as its cause
 */
export async function withFlag<T>(
  addon: NativeAddon,
  signal: AbortSignal | undefined,
  who: string,
  job: (flag: FlagExternal | null) => Promise<T>,
): Promise<T> {
  throwIfAborted(signal, who);
  if (signal === undefined) return job(null);
  const flag = addon.createFlag();
  const raise = (): void => addon.raiseFlag(flag);
  signal.addEventListener("abort", raise, { once: true });
  try {
    return await job(flag);
  } catch (error) {
    if ((error as { code?: unknown }).code === "KVFOLD_ABORTED") throwIfAborted(signal, who);
    throw error;
  } finally {
    signal.removeEventListener("abort", raise);
  }
}
