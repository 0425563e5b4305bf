/** Plans that only keep cells: the same in all heads, or others in every head. They too leave here checked. */
import type { CacheView } from "../view.js";
import { sharedPlan } from "./builder.js";
import { checkPlan } from "./check.js";
import { planError } from "./check-structure.js";
import {
  type CompositePlan,
  type DenseValues,
  type FitRequest,
  PLAN_VERSION,
  type SharedPlan,
} from "./plan.js";
import { mostKvHeads } from "./rows.js";
import { fitOrNone, valuesOrNone } from "./values.js";

/** What every plan may carry besides its rows. */
interface PlanExtras {
  readonly pins?: Uint8Array | null;
  /** Values to solve for (see `FitRequest`). */
  readonly fit?: FitRequest | null;
  /** Values that are given; a plan has at most one of `fit` and `values`. */
  readonly values?: DenseValues | null;
}

export interface KeepPlanOptions extends PlanExtras {
  /**
   * `true` (default): cells keep their positions. `dense`: row j of M gets `last - (M - 1) + j`, at least 0, where
   * `last` is the position of the last cell of the cache: a recent window keeps its own positions, and decoding goes
   * on at last + 1. Keys stay as rotated as they are.
   */
  readonly positions?: "true" | "dense";
}

export interface CompositePlanOptions extends PlanExtras {
  /** As in `KeepPlanOptions`; heads keep different cells, so there are no true positions. */
  readonly positions?: "dense";
}

/** Row j of M: last - (M - 1) + j, at least 0. [rows] */
function densePositions(view: CacheView, rows: number): Int32Array {
  const first = (view.positions[view.shape.cells - 1] ?? 0) - (rows - 1);
  return Int32Array.from({ length: rows }, (_, row) => Math.max(0, first + row));
}

/**
 * Keeps these cells in all layers and heads, and drops the others.
 *
 *     cells  a b c d e   kept [0, 3, 4]   ->   a d e
 *
 * @param kept cells in rising order
 * @throws KvfoldError KVFOLD_PLAN_* when they are not
 */
export function keepPlan(
  view: CacheView,
  kept: ArrayLike<number>,
  options: KeepPlanOptions = {},
): SharedPlan {
  for (let i = 1; i < kept.length; i++) {
    if (!(kept[i]! > kept[i - 1]!)) {
      const code = kept[i] === kept[i - 1] ? "KVFOLD_PLAN_NOT_DISJOINT" : "KVFOLD_PLAN_ORDER";
      throw planError(
        code,
        `kept cell ${kept[i]} follows ${kept[i - 1]}`,
        "list the kept cells once, in rising order",
      );
    }
  }
  const dense = options.positions === "dense" ? densePositions(view, kept.length) : null;
  const rows = Array.from(kept, (cell, row) => ({
    members: [cell],
    // a cell out of range gets no position here: the builder names the mistake
    position: dense?.[row] ?? view.positions[cell] ?? 0,
  }));
  const { pins = null, fit = null, values = null } = options;
  return sharedPlan(view, rows, { pins, fit, values });
}

/** Keeps every cell where it is. Executing it changes no byte. */
export const identityPlan = (view: CacheView): SharedPlan =>
  keepPlan(
    view,
    Array.from({ length: view.shape.cells }, (_, cell) => cell),
  );

/**
 * One source cell for every layer, KV head and row. A row counts the fewest tokens of any of its cells; its cells must
 * have one bias, which it keeps.
 *
 *     head 0   a b c d e   keeps a c e   ->   row 0: a|a   row 1: c|d   row 2: e|e
 *     head 1   a b c d e   keeps a d e
 *
 * @param members [layers, kvHeads, rows], kvHeads the most of any layer; heads that a layer lacks repeat its head 0
 * @throws KvfoldError KVFOLD_PLAN_*
 */
export function compositePlan(
  view: CacheView,
  members: Uint32Array,
  options: CompositePlanOptions = {},
): CompositePlan {
  const layers = view.shape.layers.length;
  const kvHeads = mostKvHeads(view.shape);
  const rows = members.length / (layers * kvHeads);
  if (!Number.isInteger(rows) || rows < 1) {
    const what = `${members.length} members are not a row or more for ${layers} layers of ${kvHeads} KV heads`;
    throw planError("KVFOLD_PLAN_SHAPE", what);
  }
  const counts = fewestTokens(view, members, rows);
  const bias = Float32Array.from({ length: rows }, (_, row) => view.bias?.[members[row]!] ?? 0);
  const plan: CompositePlan = {
    layout: "composite",
    version: PLAN_VERSION,
    cells: view.shape.cells,
    rows,
    layers,
    kvHeads,
    members,
    positions: densePositions(view, rows),
    counts,
    dropped: sum(view.counts) - sum(counts),
    bias: bias.some((value) => value !== 0) ? bias : null,
    pins: options.pins ?? null,
    fit: fitOrNone(options.fit),
    values: valuesOrNone(options.values),
  };
  checkPlan(plan, view);
  return plan;
}

const sum = (counts: Uint32Array): number => counts.reduce((total, count) => total + count, 0);

function fewestTokens(view: CacheView, members: Uint32Array, rows: number): Uint32Array {
  const counts = new Uint32Array(rows).fill(2 ** 32 - 1);
  for (let i = 0; i < members.length; i++) {
    counts[i % rows] = Math.min(counts[i % rows]!, view.counts[members[i]!] ?? 0);
  }
  return counts;
}
