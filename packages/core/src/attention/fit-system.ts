/** The least-squares system behind a fit: weights of the free cells, what is missing, and its solution. In double. */
import { choleskyFactor, choleskySolve } from "./cholesky.js";
import type { FitForm, FitInput } from "./fit.js";
import { addWeighted, softmaxRow } from "./head.js";

/** Which rows fit and which judge. */
export interface Split {
  /** Query rows, fitting ones first. [rows] */
  readonly order: Uint32Array;
  readonly fitting: number;
}

/** What the fit has to explain, and by what. */
export interface System {
  /** Weights of the free cells, rows in the order of the split. [rows, free] */
  readonly weights: Float64Array;
  /** O - A V, and O - A V' once solved. [rows, valueDim] */
  readonly missing: Float64Array;
}

/** Rows holdout - 1, 2 holdout - 1, .. judge; they come last. */
export function splitRows(rows: number, holdout: number): Split {
  const judges = (row: number): boolean => holdout > 0 && row % holdout === holdout - 1;
  const all = Array.from({ length: rows }, (_, row) => row);
  const fitting = all.filter((row) => !judges(row));
  return { order: Uint32Array.from([...fitting, ...all.filter(judges)]), fitting: fitting.length };
}

/** One pass over the queries. */
export function buildSystem(input: FitInput, split: Split, kept: number): System {
  const { free, valueDim, targets } = input;
  const row = new Float64Array(kept);
  const weights = new Float64Array(split.order.length * free.length);
  const missing = new Float64Array(split.order.length * valueDim);
  split.order.forEach((query, slot) => {
    softmaxRow(input, query, row);
    missing.set(targets.subarray(query * valueDim, (query + 1) * valueDim), slot * valueDim);
    addWeighted(row, input.values, -1, missing, slot * valueDim, valueDim);
    for (let f = 0; f < free.length; f++) weights[slot * free.length + f] = row[free[f]!]!;
  });
  return { weights, missing };
}

/** The solution, over the free cells. */
export interface Solved {
  readonly form: FitForm;
  readonly ridge: number;
  readonly guarded: number;
  /** V' - V of the free cells. [free, valueDim] */
  readonly delta: Float64Array;
}

/** Solves on the fitting rows and takes the answer off `system.missing` on all rows. */
export function solve(input: FitInput, system: System, fitting: number): Solved {
  const free = input.free.length;
  const width = input.valueDim;
  const delta = new Float64Array(free * width);
  const weights = system.weights.subarray(0, fitting * free);
  const trace = weights.reduce((sum, weight) => sum + weight * weight, 0);
  if (!(trace > 0)) return { form: "none", ridge: 0, guarded: 0, delta };
  const ridge = (input.lambda * trace) / free;
  const factors = input.ridgeFactors ?? new Uint8Array(free).fill(1);
  const usual = free <= fitting || input.ridgeFactors !== undefined ? "primal" : "dual";
  const form = input.form ?? usual;
  const missing = system.missing.subarray(0, fitting * width);
  const guarded =
    form === "primal"
      ? solvePrimal(weights, fitting, factors, missing, ridge, delta, width)
      : solveDual(weights, fitting, free, missing, ridge, delta, width);
  for (let slot = 0; slot * width < system.missing.length; slot++) {
    const row = system.weights.subarray(slot * free, (slot + 1) * free);
    addWeighted(row, delta, -1, system.missing, slot * width, width);
  }
  return { form, ridge, guarded, delta };
}

/** delta = (A^T A + ridge N)^-1 A^T missing. `factors`: the diagonal of N [free] */
function solvePrimal(
  weights: Float64Array,
  rows: number,
  factors: Uint8Array,
  missing: Float64Array,
  ridge: number,
  delta: Float64Array,
  width: number,
): number {
  const free = factors.length;
  const gram = gramOfColumns(weights, rows, free);
  for (let j = 0; j < free; j++) gram[j * free + j] = gram[j * free + j]! + ridge * factors[j]!;
  const guarded = choleskyFactor(gram, free);
  addTransposed(weights, rows, free, missing, delta, width);
  choleskySolve(gram, free, delta, width);
  return guarded;
}

/** delta = A^T (A A^T + ridge)^-1 missing. */
function solveDual(
  weights: Float64Array,
  rows: number,
  free: number,
  missing: Float64Array,
  ridge: number,
  delta: Float64Array,
  width: number,
): number {
  const gram = gramOfRows(weights, rows, free);
  for (let j = 0; j < rows; j++) gram[j * rows + j] = gram[j * rows + j]! + ridge;
  const guarded = choleskyFactor(gram, rows);
  const dual = missing.slice();
  choleskySolve(gram, rows, dual, width);
  addTransposed(weights, rows, free, dual, delta, width);
  return guarded;
}

/** A^T A, lower triangle. */
function gramOfColumns(weights: Float64Array, rows: number, free: number): Float64Array {
  const gram = new Float64Array(free * free);
  for (let row = 0; row < rows; row++) {
    for (let i = 0; i < free; i++) {
      const weight = weights[row * free + i]!;
      for (let j = 0; j <= i; j++)
        gram[i * free + j] = gram[i * free + j]! + weight * weights[row * free + j]!;
    }
  }
  return gram;
}

/** A A^T, lower triangle. */
function gramOfRows(weights: Float64Array, rows: number, free: number): Float64Array {
  const gram = new Float64Array(rows * rows);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = 0;
      for (let f = 0; f < free; f++) sum += weights[i * free + f]! * weights[j * free + f]!;
      gram[i * rows + j] = sum;
    }
  }
  return gram;
}

/** to += A^T from. `from`: [rows, width], `to`: [free, width] */
function addTransposed(
  weights: Float64Array,
  rows: number,
  free: number,
  from: Float64Array,
  to: Float64Array,
  width: number,
): void {
  for (let row = 0; row < rows; row++) {
    for (let f = 0; f < free; f++) {
      const weight = weights[row * free + f]!;
      for (let i = 0; i < width; i++)
        to[f * width + i] = to[f * width + i]! + weight * from[row * width + i]!;
    }
  }
}
