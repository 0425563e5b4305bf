/** Attention of sampled queries over one KV head: what each cell gets, and what comes out. Reference, in double. */
import {
  addWeighted,
  checkScores,
  type Floats,
  type HeadScores,
  lengthIs,
  magnitudeIs,
  softmaxRow,
} from "./head.js";

/** What `attendHead` takes. */
export interface AttendInput extends HeadScores {
  /** Values, to get attention outputs as well. [cells, valueDim] */
  readonly values?: Floats | null;
  /** Channels of a value; 0 without values. */
  readonly valueDim?: number;
}

/** Statistics over the queries of the softmax weight of each cell, and outputs. */
export interface AttendResult {
  /** Largest weight. [cells] */
  readonly maximum: Float64Array;
  /** Mean weight; sums to 1 over the cells. [cells] */
  readonly mean: Float64Array;
  /** Root mean square weight: the score `frms` when the queries are future ones. [cells] */
  readonly rms: Float64Array;
  /** softmax(queries keys^T + bias) values, or null without values. [rows, valueDim] */
  readonly outputs: Float64Array | null;
}

/**
 * Attends from every query to every cell; the softmax runs over all cells, not causally. Never holds more than one row
 * of weights.
 *
 *     queries r0 r1 ..   x   cells c0 c1 c2 ..   ->   weight of c0: max, mean, rms over r;  output of r0, r1, ..
 *
 * Source of the statistics: maximum KVzip (arXiv 2505.23416), root mean square Attention Matching (arXiv 2602.16284).
 *
 * @throws KvfoldError KVFOLD_ARGUMENT: sizes that do not fit, numbers that are not finite
 */
export function attendHead(input: AttendInput): AttendResult {
  const who = "attend";
  const { rows, cells } = checkScores(who, input);
  const valueDim = input.values ? (input.valueDim ?? 0) : 0;
  if (input.values) {
    lengthIs(who, "values", input.values, cells * valueDim);
    magnitudeIs(who, "values", input.values);
  }
  const maximum = new Float64Array(cells);
  const mean = new Float64Array(cells);
  const rms = new Float64Array(cells);
  const outputs = input.values ? new Float64Array(rows * valueDim) : null;
  const weights = new Float64Array(cells);
  for (let row = 0; row < rows; row++) {
    softmaxRow(input, row, weights);
    for (let cell = 0; cell < cells; cell++) {
      const weight = weights[cell]!;
      if (weight > maximum[cell]!) maximum[cell] = weight;
      mean[cell] = mean[cell]! + weight;
      rms[cell] = rms[cell]! + weight * weight;
    }
    if (outputs) addWeighted(weights, input.values!, 1, outputs, row * valueDim, valueDim);
  }
  for (let cell = 0; cell < cells; cell++) {
    mean[cell] = mean[cell]! / rows;
    rms[cell] = Math.sqrt(rms[cell]! / rows);
  }
  return { maximum, mean, rms, outputs };
}
