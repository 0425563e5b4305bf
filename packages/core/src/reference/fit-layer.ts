/** Values that are computed: those that a fit solves for, one head at a time in double, and those that a plan gives. */
import { attendHead, type FitInput, fitHead } from "../attention/index.js";
import { decodeRow, encodeRow } from "../dtype/dtypes.js";
import type { FitOutcome, MemoryTarget } from "../executor.js";
import { hadamardTransform } from "../hadamard.js";
import type { FitRequest, MergePlan } from "../plan/plan.js";
import { mostKvHeads } from "../plan/rows.js";
import { valueReader } from "../plan/values.js";
import { futureQueries, type QuerySample } from "../queries.js";
import { type FoldedLayer, headOf } from "./fold-layer.js";
import { keyPlane, type Plane, readHead, valuePlane } from "./planes.js";

/** A plan with a fit, and the sample that it names. */
export interface FitWork {
  readonly plan: MergePlan;
  readonly fit: FitRequest;
  readonly sample: QuerySample;
}

/** What became of the fit of one head. */
export interface FittedHead {
  readonly outcome: FitOutcome;
  /** New values of the free rows as they are stored (Hadamard rotation on), or null when the fit was dropped. */
  readonly values: Float64Array | null;
  /** The free rows, rising. */
  readonly free: Uint32Array;
}

/** Rows of one head that a fit frees, rising, and their ridge factors. */
function freeRows({ plan, fit }: FitWork, kvHeads: number, layer: number, head: number) {
  const from = (layer * kvHeads + head) * plan.rows;
  const factors = fit.free.subarray(from, from + plan.rows);
  return {
    free: Uint32Array.from(factors.keys()).filter((row) => factors[row] !== 0),
    ridgeFactors: factors.filter((factor) => factor !== 0),
  };
}

/**
 * Solves the free values of one head. The outputs to reach are those of all cells with the bias that they have; the
 * rows answer with their stored keys, values and the plan's bias. Queries are turned to positions after the last cell,
 * and for the rows after the last row, where decoding goes on. Values stay as they are stored: the solution is the same
 * in any orthogonal basis.
 */
export function fitOneHead(
  target: MemoryTarget,
  work: FitWork,
  folded: FoldedLayer,
  layerIndex: number,
  head: number,
): FittedHead {
  const { fit } = work;
  const { free, ridgeFactors } = freeRows(work, mostKvHeads(target.shape), layerIndex, head);
  if (free.length === 0) {
    const outcome = { layer: layerIndex, head, before: Number.NaN, after: Number.NaN, accepted: false };
    return { outcome, values: null, free };
  }
  const { valueDim } = target.shape.layers[layerIndex]!;
  const { lambda, holdout } = fit;
  const known = attentionOf(target, work, folded, layerIndex, head);
  const held = ridgeFactors.some((factor) => factor > 1) ? { ridgeFactors } : {};
  const result = fitHead({ ...known, free, ...held, lambda, holdout });
  const solved = Float64Array.from({ length: free.length * valueDim }, (_, i) => {
    return result.values[free[Math.floor(i / valueDim)]! * valueDim + (i % valueDim)]!;
  });
  const accepted = result.accepted && storable(valuePlane(target, layerIndex), solved);
  const { target: size, before, after } = result.judged;
  const error = { before: relative(before, size), after: relative(accepted ? after : before, size) };
  return {
    outcome: { layer: layerIndex, head, ...error, accepted },
    values: accepted ? solved : null,
    free,
  };
}

/** The rows of a head and how they are asked, and what all cells answer. */
function attentionOf(
  target: MemoryTarget,
  { plan, fit, sample }: FitWork,
  folded: FoldedLayer,
  layerIndex: number,
  head: number,
): Omit<FitInput, "free" | "ridgeFactors" | "lambda" | "holdout"> {
  const layer = target.shape.layers[layerIndex]!;
  const [keys, values] = [keyPlane(target, layerIndex), valuePlane(target, layerIndex)];
  const cells = (plane: Plane, hadamard: number): Float64Array =>
    decodeHead(plane, target.shape.cells, hadamard, (cell, bytes) =>
      readHead(plane, target.slots[cell]!, head, bytes),
    );
  const kept = (plane: Plane, rows: Uint8Array, hadamard: number): Float64Array =>
    decodeHead(plane, plan.rows, hadamard, (row, bytes) => bytes.set(headOf(rows, plane, row, head)));
  const spread = { horizon: fit.horizon, maxRows: fit.maxRows };
  const queriesAfter = (last: number): Float32Array =>
    futureQueries(sample, layerIndex, layer, head, { ...spread, last });
  const dims = { dim: layer.keyDim, valueDim: layer.valueDim };
  const full = attendHead({
    ...dims,
    queries: queriesAfter(target.positions[target.shape.cells - 1]!),
    keys: cells(keys, layer.hadamard.key),
    values: cells(values, 0),
    bias: target.bias ?? null,
  });
  return {
    ...dims,
    queries: queriesAfter(plan.positions[plan.rows - 1]!),
    keys: kept(keys, folded.keys, layer.hadamard.key),
    values: kept(values, folded.values, 0),
    targets: full.outputs!,
    bias: plan.bias,
  };
}

const relative = (error: number, size: number): number =>
  size > 0 ? Math.sqrt(error / size) : error > 0 ? Number.POSITIVE_INFINITY : 0;

/** False when the type of the cache cannot hold a value. */
function storable(plane: Plane, values: Float64Array): boolean {
  const bytes = new Uint8Array(plane.headBytes);
  for (let from = 0; from < values.length; from += plane.channels) {
    encodeRow(plane.dtype, values.subarray(from, from + plane.channels), bytes);
    if (!decodeRow(plane.dtype, bytes, plane.channels).every(Number.isFinite)) return false;
  }
  return true;
}

/** [count, channels] */
function decodeHead(
  plane: Plane,
  count: number,
  hadamard: number,
  read: (index: number, bytes: Uint8Array) => void,
): Float64Array {
  const { channels } = plane;
  const out = new Float64Array(count * channels);
  const bytes = new Uint8Array(plane.headBytes);
  for (let index = 0; index < count; index++) {
    read(index, bytes);
    out.set(decodeRow(plane.dtype, bytes, channels), index * channels);
    if (hadamard > 0) hadamardTransform(out, index * channels, channels, hadamard);
  }
  return out;
}

/** Writes the values of a fitted head into the rows of its layer. */
export function storeFitted(plane: Plane, folded: FoldedLayer, { outcome, values, free }: FittedHead): void {
  if (values === null) return;
  free.forEach((row, index) => {
    const value = values.subarray(index * plane.channels, (index + 1) * plane.channels);
    encodeRow(plane.dtype, value, headOf(folded.values, plane, row, outcome.head));
  });
}

/** Writes the values that a plan gives into the rows of one layer. */
export function storeGiven(
  target: MemoryTarget,
  plan: MergePlan,
  layerIndex: number,
  folded: FoldedLayer,
): void {
  if (plan.values === null) return;
  const layer = target.shape.layers[layerIndex]!;
  const plane = valuePlane(target, layerIndex);
  const read = valueReader(plan.values, plan.rows, target.shape.layers);
  for (let head = 0; head < layer.kvHeads; head++) {
    for (let row = 0; row < plan.rows; row++) {
      const given = read(layerIndex, head, row);
      if (given === null) continue;
      const stored = new Float64Array(given);
      if (layer.hadamard.value > 0) hadamardTransform(stored, 0, stored.length, layer.hadamard.value);
      encodeRow(plane.dtype, stored, headOf(folded.values, plane, row, head));
    }
  }
}
