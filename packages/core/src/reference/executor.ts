/** The reference executor: slow, serial, in double precision. What it writes is what a fold means. */
import { setImmediate as nextTurn } from "node:timers/promises";
import { throwIfAborted } from "../errors.js";
import type { Executor, FitOutcome, FoldTransaction, MemoryTarget, PrepareOptions } from "../executor.js";
import { checkPlanAlone } from "../plan/check.js";
import { checkFitSample } from "../plan/check-values.js";
import type { MergePlan } from "../plan/plan.js";
import { type FitWork, fitOneHead, storeFitted, storeGiven } from "./fit-layer.js";
import { type FoldedLayer, foldLayer } from "./fold-layer.js";
import { valuePlane } from "./planes.js";
import { prepareShift } from "./shift.js";
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
    prepareShift: (target, shift, shiftOptions = {}) => prepareShift(target, shift, shiftOptions, fault),
  };
}

/** The reference executor of this process. */
export const referenceExecutor: Executor<MemoryTarget> = createReferenceExecutor();

async function prepare(
  target: MemoryTarget,
  plan: MergePlan,
  { destinations, signal, queries }: PrepareOptions,
  fault: FoldFault,
): Promise<FoldTransaction> {
  throwIfAborted(signal, "reference");
  checkTarget(target);
  checkPlanAlone(plan, target.shape);
  checkFitSample(plan, target.shape, queries ?? null);
  checkDestinations(destinations, plan.rows, target.capacity);
  const layers: FoldedLayer[] = [];
  const outcomes: FitOutcome[] = [];
  for (let layer = 0; layer < target.shape.layers.length; layer++) {
    let row = 0;
    const poll = (): void => {
      throwIfAborted(signal, "reference");
      fault({ phase: "prepare", layer, row: row++ });
    };
    const folded = foldLayer(target, plan, layer, poll);
    // lets timers and signals of the caller in
    await nextTurn();
    storeGiven(target, plan, layer, folded);
    if (plan.fit !== null) {
      const work = { plan, fit: plan.fit, sample: queries! };
      outcomes.push(...(await fitLayer(target, work, layer, folded, signal)));
    }
    layers.push(folded);
  }
  throwIfAborted(signal, "reference");
  return createTransaction(target, destinations, layers, plan.fit === null ? null : outcomes, fault);
}

/** Solves head after head; a head reads and writes nothing of another. */
async function fitLayer(
  target: MemoryTarget,
  work: FitWork,
  layer: number,
  folded: FoldedLayer,
  signal: AbortSignal | undefined,
): Promise<FitOutcome[]> {
  const outcomes: FitOutcome[] = [];
  for (let head = 0; head < target.shape.layers[layer]!.kvHeads; head++) {
    throwIfAborted(signal, "reference");
    const fitted = fitOneHead(target, work, folded, layer, head);
    storeFitted(valuePlane(target, layer), folded, fitted);
    outcomes.push(fitted.outcome);
    await nextTurn();
  }
  return outcomes;
}
