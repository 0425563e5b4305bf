/** What attention over one KV head is made of: sizes, their checks, and one softmax row. */
import { KvfoldError } from "../errors.js";

/** Rows of numbers, one after another. */
export type Floats = Float32Array | Float64Array;

/** Largest |score|, |value| or |target| that is taken: far from overflow, in f32 executors as well. */
export const MAX_MAGNITUDE: number = 2 ** 96;

/** Queries, keys and biases of one KV head. */
export interface HeadScores {
  /** Channels of a query and of a key. */
  readonly dim: number;
  /** All query heads of the group, rotated to where they ask from, times the attention scale. [rows, dim] */
  readonly queries: Floats;
  /** Rotated keys, any Hadamard rotation undone. [cells, dim] */
  readonly keys: Floats;
  /** Additive logit bias of each cell, or none. [cells] */
  readonly bias?: Floats | null;
}

/** Fails with KVFOLD_ARGUMENT. */
export function refuse(who: string, what: string, hint?: string): never {
  throw new KvfoldError("KVFOLD_ARGUMENT", what, { who, ...(hint === undefined ? {} : { hint }) });
}

/** Number of rows of `width` that an array holds; refuses none, and part of a row. */
export function rowsOf(who: string, name: string, data: Floats, width: number): number {
  if (!Number.isSafeInteger(width) || width < 1) refuse(who, `rows of ${name} have ${width} channels`);
  if (data.length === 0 || data.length % width !== 0) {
    refuse(who, `${name} has ${data.length} numbers: must be whole rows of ${width}, at least one`);
  }
  return data.length / width;
}

/** Refuses an array of another length. */
export function lengthIs(who: string, name: string, data: Floats, length: number): void {
  if (data.length !== length) refuse(who, `${name} has ${data.length} numbers instead of ${length}`);
}

/** Refuses NaN, infinities and magnitudes from which sums could overflow. */
export function magnitudeIs(who: string, name: string, data: Floats): void {
  const index = data.findIndex((value) => !(Math.abs(value) <= MAX_MAGNITUDE));
  if (index >= 0) {
    refuse(who, `${name}[${index}] is ${data[index]}`, "numbers must be finite and below 2^96");
  }
}

/**
 * Checks what every operation on a head takes.
 *
 * @returns number of queries and of cells
 * @throws KvfoldError KVFOLD_ARGUMENT
 */
export function checkScores(who: string, head: HeadScores): { rows: number; cells: number } {
  const rows = rowsOf(who, "queries", head.queries, head.dim);
  const cells = rowsOf(who, "keys", head.keys, head.dim);
  if (head.bias) lengthIs(who, "bias", head.bias, cells);
  const query = longest(who, "queries", head.queries, head.dim);
  const key = longest(who, "keys", head.keys, head.dim);
  if (head.bias) magnitudeIs(who, "bias", head.bias);
  // no partial sum of q.k is larger than |q||k| (Cauchy and Schwarz)
  if (!(query * key <= MAX_MAGNITUDE)) {
    refuse(who, "scores may overflow", "the longest query times the longest key must be below 2^96");
  }
  return { rows, cells };
}

/** The largest Euclidean length of a row. */
function longest(who: string, name: string, data: Floats, width: number): number {
  let most = 0;
  for (let from = 0; from < data.length; from += width) {
    let sum = 0;
    for (let i = 0; i < width; i++) sum += data[from + i]! ** 2;
    if (!Number.isFinite(sum)) refuse(who, `${name} row ${from / width} is not finite`);
    if (sum > most) most = sum;
  }
  return Math.sqrt(most);
}

/**
 * Softmax weights of one query over all cells; not causal. The largest score is subtracted first, so nothing overflows.
 *
 * @param weights written. [cells]
 */
export function softmaxRow(head: HeadScores, row: number, weights: Float64Array): void {
  const { dim, queries, keys, bias } = head;
  let top = -Infinity;
  for (let cell = 0; cell < weights.length; cell++) {
    let score = bias ? bias[cell]! : 0;
    for (let i = 0; i < dim; i++) score += queries[row * dim + i]! * keys[cell * dim + i]!;
    weights[cell] = score;
    if (score > top) top = score;
  }
  let total = 0;
  for (let cell = 0; cell < weights.length; cell++) {
    weights[cell] = Math.exp(weights[cell]! - top);
    total += weights[cell]!;
  }
  for (let cell = 0; cell < weights.length; cell++) weights[cell] = weights[cell]! / total;
}

/**
 * Adds `factor * weights . values` to one row.
 *
 * @param values [cells, width]
 * @param to written at `offset`. [width]
 */
export function addWeighted(
  weights: Float64Array,
  values: Floats,
  factor: number,
  to: Float64Array,
  offset: number,
  width: number,
): void {
  for (let cell = 0; cell < weights.length; cell++) {
    const weight = factor * weights[cell]!;
    for (let i = 0; i < width; i++) to[offset + i] = to[offset + i]! + weight * values[cell * width + i]!;
  }
}
