/** Lets timers and signals run during long planning, so that an abort is seen within tens of milliseconds. */
import { type PlanContext, throwIfAborted } from "@kvfold/core";

/** Milliseconds of work between two breaths. */
const LONGEST = 20;

/**
 * A function to await now and then: it gives way to the event loop when 20 ms have passed since the last time.
 * @throws KvfoldError KVFOLD_ABORTED (from the function) once the caller's signal has fired
 */
export function createBreather(context: Pick<PlanContext, "signal">, who: string): () => Promise<void> {
  let last = performance.now();
  return async () => {
    throwIfAborted(context.signal, who);
    if (performance.now() - last < LONGEST) return;
    await new Promise((resolve) => setImmediate(resolve));
    last = performance.now();
    throwIfAborted(context.signal, who);
  };
}
