/** Evaluations that the caller can stop. */
import { type KvfoldError, throwIfAborted } from "@kvfold/core";
import { WHO } from "../native/errors.js";
import { needUsable, type SequenceState } from "./state.js";

/**
 * Runs an evaluation that ends at its next graph node when the signal fires.
 * @throws KvfoldError KVFOLD_ABORTED with the reason of the signal
 */
export async function cancellable<T>(
  state: SequenceState,
  signal: AbortSignal | undefined,
  evaluate: () => Promise<T>,
): Promise<T> {
  needUsable(state);
  throwIfAborted(signal, WHO);
  const { addon, handle } = state.context;
  const cancel = (): void => addon.cancel(handle);
  signal?.addEventListener("abort", cancel, { once: true });
  try {
    return await evaluate();
  } catch (error) {
    if ((error as KvfoldError).code === "KVFOLD_ABORTED") throwIfAborted(signal, WHO);
    throw error;
  } finally {
    signal?.removeEventListener("abort", cancel);
  }
}
