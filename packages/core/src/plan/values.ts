/** What a plan says about values that are not its members': which rows are solved for or given, and where those lie. */
import type { LayerShape } from "../shape.js";
import { checkPlanAlone } from "./check.js";
import { planError } from "./check-structure.js";
import type { DenseValues, FitRequest, MergePlan } from "./plan.js";

/**
 * The same plan with a fit, or without one: a fit that frees no row counts as none.
 *
 * @throws KvfoldError KVFOLD_PLAN_FIT when the plan has given values, or the request breaks a rule; KVFOLD_PLAN_*
 */
export function withFit<Plan extends MergePlan>(plan: Plan, fit: FitRequest | null): Plan {
  const next = { ...plan, fit: fitOrNone(fit) };
  checkPlanAlone(next);
  return next;
}

/** A request that frees no row asks for nothing. */
export const fitOrNone = (fit: FitRequest | null | undefined): FitRequest | null =>
  fit?.free instanceof Uint8Array && fit.free.every((bit) => bit === 0) ? null : (fit ?? null);

/** Given values of no row say nothing. */
export const valuesOrNone = (values: DenseValues | null | undefined): DenseValues | null =>
  values?.given instanceof Uint8Array && values.data?.length === 0 && values.given.every((bit) => bit === 0)
    ? null
    : (values ?? null);

/**
 * Finds given values.
 *
 * @param layers of the cache, for the channels of a value
 * @returns the value of a row [valueDim], a window into the data; null where none is given
 * @throws KvfoldError KVFOLD_PLAN_SHAPE when the arrays do not fit the layers
 */
export function valueReader(
  values: DenseValues,
  rows: number,
  layers: readonly LayerShape[],
): (layer: number, head: number, row: number) => Float32Array | null {
  const { given, data } = values;
  const kvHeads = given.length / (layers.length * rows);
  const offsets = new Int32Array(given.length).fill(-1);
  let end = 0;
  for (let i = 0; i < given.length; i++) {
    if (given[i] === 0) continue;
    offsets[i] = end;
    end += layers[Math.floor(i / (kvHeads * rows))]!.valueDim;
  }
  if (end !== data.length) {
    throw planError("KVFOLD_PLAN_SHAPE", `the given values have ${data.length} numbers, must have ${end}`);
  }
  return (layer, head, row) => {
    const from = offsets[(layer * kvHeads + head) * rows + row]!;
    return from < 0 ? null : data.subarray(from, from + layers[layer]!.valueDim);
  };
}
