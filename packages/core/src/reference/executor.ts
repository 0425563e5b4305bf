/** The reference executor: slow, serial, in double precision. What it writes is what a fold means. */
import { setImmediate as nextTurn } from "node:timers/promises";
import { throwIfAborted } from "../errors.js";
import type { Executor, FoldTransaction, MemoryTarget, PrepareOptions } from "../executor.js";
import { checkPlanAlone } from "../plan/check.js";
import type { MergePlan } from "../plan/plan.js";
import { type FoldedLayer, foldLayer } from "./fold-layer.js";
import { checkDestinations, checkTarget, supportsShape } from "./supports.js";
import { createTransaction, type FoldFault } from "./transaction.js";

export interface ReferenceExecutorOptions {
  /** Interrupts a fold at a chosen step. For tests. */
  readonly fault?: FoldFault;
}

/**
 * Makes a reference executor. All types, both value layouts, Hadamard-rotated caches; block types need whole blocks in
 * each head, because composite rows copy the bytes of single heads.
 */
export function createReferenceExecutor(options: ReferenceExecutorOptions = {}): Executor<MemoryTarget> {
  const fault = options.fault ?? (() => {});
  return {
    name: "reference",
    supports: supportsShape,
    prepare: (target, plan, prepareOptions) => prepare(target, plan, prepareOptions, fault),
  };
}

/** The reference executor of this process. */
export const referenceExecutor: Executor<MemoryTarget> = createReferenceExecutor();

async function prepare(
  target: MemoryTarget,
  plan: MergePlan,
  { destinations, signal }: PrepareOptions,
  fault: FoldFault,
): Promise<FoldTransaction> {
  throwIfAborted(signal, "reference");
  checkTarget(target);
  checkPlanAlone(plan, target.shape);
  checkDestinations(destinations, plan.rows, target.capacity);
  const layers: FoldedLayer[] = [];
  for (let layer = 0; layer < target.shape.layers.length; layer++) {
    let row = 0;
    const poll = (): void => {
      throwIfAborted(signal, "reference");
      fault({ phase: "prepare", layer, row: row++ });
    };
    layers.push(foldLayer(target, plan, layer, poll));
    // lets timers and signals of the caller in
    await nextTurn();
  }
  throwIfAborted(signal, "reference");
  return createTransaction(target, destinations, layers, fault);
}
