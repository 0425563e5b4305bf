/** Makes shared plans from rows. Whatever leaves here has passed every check. */
import type { CacheView } from "../view.js";
import { checkPlan } from "./check.js";
import { planError } from "./check-structure.js";
import { type DenseValues, type FitRequest, PLAN_VERSION, type SharedPlan, type Weights } from "./plan.js";
import { mostKvHeads } from "./rows.js";
import { fitOrNone, valuesOrNone } from "./values.js";
import { weighsOne } from "./weights.js";

/** One row of a shared plan. */
export interface SharedRow {
  /** Old cells that become this row. */
  readonly members: readonly number[];
  /** Position of the row. */
  readonly position: number;
  /** Additive logit bias; left out: the cell's own where the row only keeps a cell, else 0. */
  readonly bias?: number;
  /** One weight a member; left out: 1 each, so the row is their sum. */
  readonly keyWeights?: readonly number[];
  /** As `keyWeights`, for values. */
  readonly valueWeights?: readonly number[];
}

/** Weights of the members of one row in one layer and head. */
export interface RowWeights {
  readonly key: readonly number[];
  readonly value: readonly number[];
}

export interface SharedPlanOptions {
  /** Default `stored`. */
  readonly keyFrame?: "stored" | "target";
  readonly pins?: Uint8Array | null;
  /** Values to solve for (see `FitRequest`). */
  readonly fit?: FitRequest | null;
  /** Values that are given; a plan has at most one of `fit` and `values`. */
  readonly values?: DenseValues | null;
  /** Weights that differ between heads; replaces the weights of the rows. `layer` indexes `view.shape.layers`. */
  readonly headWeights?: (layer: number, head: number, rowIndex: number) => RowWeights;
}

/**
 * A plan whose rows have the same members in all layers and heads. Nothing is sorted or repaired.
 *
 *     cells  a b c d e   rows [{members:[0]}, {members:[1,2]}, {members:[3]}, {members:[4]}]   ->   a [bc] d e
 *
 * @throws KvfoldError KVFOLD_PLAN_* when the rows break a rule (see `checkPlan`)
 *
 * @example
 * const half = [0.5, 0.5];
 * sharedPlan(view, [{ members: [0, 1], position: 1, bias: Math.LN2, keyWeights: half, valueWeights: half }]);
 */
export function sharedPlan(
  view: CacheView,
  rows: readonly SharedRow[],
  options: SharedPlanOptions = {},
): SharedPlan {
  const { members, offsets } = collectMembers(rows, view.shape.cells);
  const weights = options.headWeights
    ? weightsByHead(view, rows, offsets, options.headWeights)
    : {
        keyWeights: weightsOfRows(rows, offsets, "keyWeights"),
        valueWeights: weightsOfRows(rows, offsets, "valueWeights"),
      };
  const counts = Uint32Array.from(rows, (row) =>
    row.members.reduce((sum, cell) => sum + view.counts[cell]!, 0),
  );
  const plan: SharedPlan = {
    layout: "shared",
    version: PLAN_VERSION,
    cells: view.shape.cells,
    rows: rows.length,
    offsets,
    members,
    ...weights,
    keyFrame: options.keyFrame ?? "stored",
    positions: Int32Array.from(rows, (row, index) => position(row.position, index)),
    counts,
    dropped: total(view.counts) - total(counts),
    bias: biasOfRows(view, rows, weights, offsets),
    pins: options.pins ?? null,
    fit: fitOrNone(options.fit),
    values: valuesOrNone(options.values),
  };
  checkPlan(plan, view);
  return plan;
}

const total = (counts: Uint32Array): number => counts.reduce((sum, count) => sum + count, 0);

/** Typed arrays would wrap what does not fit, so every number is looked at first. */
function cellIndex(cell: number, cells: number): number {
  if (Number.isInteger(cell) && cell >= 0 && cell < cells) return cell;
  throw planError("KVFOLD_PLAN_MEMBER_RANGE", `member ${cell} of a cache of ${cells} cells`);
}

function position(value: number, row: number): number {
  if (Number.isInteger(value) && value >= 0 && value < 2 ** 31 - 1) return value;
  throw planError(
    "KVFOLD_PLAN_ORDER",
    `row ${row} has position ${value}`,
    "positions are whole numbers from 0",
  );
}

function collectMembers(
  rows: readonly SharedRow[],
  cells: number,
): { members: Uint32Array; offsets: Uint32Array } {
  const offsets = new Uint32Array(rows.length + 1);
  rows.forEach((row, index) => {
    offsets[index + 1] = offsets[index]! + row.members.length;
  });
  const members = new Uint32Array(offsets[rows.length]!);
  rows.forEach((row, index) => {
    row.members.forEach((cell, place) => {
      members[offsets[index]! + place] = cellIndex(cell, cells);
    });
  });
  return { members, offsets };
}

function put(data: Float32Array, at: number, weights: readonly number[], row: number, members: number): void {
  if (weights.length !== members) {
    throw planError("KVFOLD_PLAN_SHAPE", `row ${row} has ${members} members, but ${weights.length} weights`);
  }
  data.set(weights, at);
}

function weightsOfRows(
  rows: readonly SharedRow[],
  offsets: Uint32Array,
  which: "keyWeights" | "valueWeights",
): Weights {
  const data = new Float32Array(offsets[rows.length]!).fill(1);
  rows.forEach((row, index) => {
    const given = row[which];
    if (given !== undefined) put(data, offsets[index]!, given, index, row.members.length);
  });
  return { scope: "all", data };
}

type BothWeights = Pick<SharedPlan, "keyWeights" | "valueWeights">;

function weightsByHead(
  view: CacheView,
  rows: readonly SharedRow[],
  offsets: Uint32Array,
  headWeights: NonNullable<SharedPlanOptions["headWeights"]>,
): BothWeights {
  const members = offsets[rows.length]!;
  const kvHeads = mostKvHeads(view.shape);
  const key = new Float32Array(view.shape.layers.length * kvHeads * members);
  const value = new Float32Array(key.length);
  view.shape.layers.forEach((layer, layerIndex) => {
    for (let head = 0; head < kvHeads; head++) {
      const base = (layerIndex * kvHeads + head) * members;
      rows.forEach((row, index) => {
        // heads that this layer lacks repeat its head 0
        const weights = headWeights(layerIndex, head < layer.kvHeads ? head : 0, index);
        put(key, base + offsets[index]!, weights.key, index, row.members.length);
        put(value, base + offsets[index]!, weights.value, index, row.members.length);
      });
    }
  });
  return { keyWeights: { scope: "head", data: key }, valueWeights: { scope: "head", data: value } };
}

function biasOfRows(
  view: CacheView,
  rows: readonly SharedRow[],
  weights: BothWeights,
  offsets: Uint32Array,
): Float32Array | null {
  const members = offsets[rows.length]!;
  const onlyKeeps = (index: number): boolean =>
    rows[index]!.members.length === 1 &&
    weighsOne(weights.keyWeights, members, offsets[index]!) &&
    weighsOne(weights.valueWeights, members, offsets[index]!);
  const own = (row: SharedRow, index: number): number =>
    view.bias !== null && onlyKeeps(index) ? view.bias[row.members[0]!]! : 0;
  const bias = Float32Array.from(rows, (row, index) => row.bias ?? own(row, index));
  return nullWhenZero(bias);
}

const nullWhenZero = (bias: Float32Array): Float32Array | null =>
  bias.some((value) => value !== 0) ? bias : null;
