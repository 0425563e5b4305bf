/** Values that plans give or solve for, out of plain choices. */
import {
  type CacheShape,
  type DenseValues,
  type FitRequest,
  type MergePlan,
  mostKvHeads,
  PIN_LEVEL,
  type QuerySample,
} from "@kvfold/core";
import { seededRandom } from "./random.js";

/** A mask over layers, KV heads and rows; heads that a layer lacks are 0. [layers, kvHeads, rows] */
function maskOf(
  shape: CacheShape,
  rows: number,
  choose: (layer: number, head: number, row: number) => boolean | number,
): Uint8Array {
  const kvHeads = mostKvHeads(shape);
  const mask = new Uint8Array(shape.layers.length * kvHeads * rows);
  shape.layers.forEach((layer, l) => {
    for (let head = 0; head < layer.kvHeads; head++) {
      for (let row = 0; row < rows; row++)
        mask[(l * kvHeads + head) * rows + row] = Number(choose(l, head, row));
    }
  });
  return mask;
}

/** Random values for about half of the rows of every head. */
export function givenValues(seed: number, shape: CacheShape, rows: number): DenseValues {
  const random = seededRandom(seed);
  const given = maskOf(shape, rows, () => random.next() < 0.5);
  const kvHeads = mostKvHeads(shape);
  const data: number[] = [];
  given.forEach((bit, i) => {
    const { valueDim } = shape.layers[Math.floor(i / (kvHeads * rows))]!;
    if (bit === 1) for (let j = 0; j < valueDim; j++) data.push(random.normal());
  });
  return { given, data: Float32Array.from(data) };
}

/** The choices behind a fit. */
export interface FitChoice {
  /** Every n-th row is read-only; the others are free. [4] */
  readonly readOnly?: number;
  /** Every n-th row gets ten times the ridge; 0: none. [3] */
  readonly stiff?: number;
  /** [0.01] */
  readonly lambda?: number;
  /** [64] */
  readonly horizon?: number;
  /** [all query rows] */
  readonly maxRows?: number;
  /** [5] */
  readonly holdout?: number;
}

/** The same plan with a fit of most rows of most heads; the last head of all is left as it is. */
export function fitted<Plan extends MergePlan>(
  plan: Plan,
  shape: CacheShape,
  sample: QuerySample,
  choice: FitChoice = {},
): Plan {
  const { readOnly = 4, stiff = 3, lambda = 0.01, horizon = 64, holdout = 5 } = choice;
  const lastLayer = shape.layers.length - 1;
  const exact = (row: number): boolean =>
    plan.pins !== null &&
    plan.pins[plan.layout === "shared" ? plan.members[plan.offsets[row]!]! : plan.members[row]!] ===
      PIN_LEVEL.exact;
  const free = maskOf(shape, plan.rows, (layer, head, row) => {
    if (layer === lastLayer && head === shape.layers[layer]!.kvHeads - 1 && layer + head > 0) return 0;
    if ((row + head) % readOnly === 0 || exact(row)) return 0;
    return stiff > 0 && row % stiff === 0 ? 10 : 1;
  });
  const group = Math.max(...shape.layers.map((layer) => layer.queryHeads / layer.kvHeads));
  const maxRows = choice.maxRows ?? group * sample.positions.length;
  const fit: FitRequest = { method: "ridge", lambda, free, queries: sample.hash, horizon, maxRows, holdout };
  return { ...plan, fit };
}
