/** Turns a fit request into the values that it stands for. */
import { setImmediate as nextTurn } from "node:timers/promises";
import { throwIfAborted } from "../errors.js";
import type { MemoryTarget } from "../executor.js";
import { checkPlan } from "../plan/check.js";
import { checkFitSample } from "../plan/check-values.js";
import type { MergePlan } from "../plan/plan.js";
import { mostKvHeads } from "../plan/rows.js";
import { valuesOrNone } from "../plan/values.js";
import type { QuerySample } from "../queries.js";
import type { CacheShape, LayerShape } from "../shape.js";
import type { CacheView } from "../view.js";
import { fitOneHead } from "./fit-layer.js";
import { foldLayer } from "./fold-layer.js";

/**
 * The same plan with its fit solved: the values of all free rows whose fit was accepted are given, the others stay as
 * they are. Solved in double over the floats of the view; an executor rounds merged rows to the type of the cache
 * first, so its values differ within that rounding. A plan without a fit is returned as it is.
 *
 * @throws KvfoldError KVFOLD_PLAN_FIT when the sample is not the one that the fit names, KVFOLD_PLAN_*,
 * KVFOLD_VIEW_STALE, KVFOLD_ABORTED
 *
 * @example
 * const dense = await materialise(plan, lease, lease.signals.queries);
 * dense.values?.data; // [given rows, valueDim]
 */
export async function materialise<Plan extends MergePlan>(
  plan: Plan,
  view: CacheView,
  queries: QuerySample | null,
  options: { readonly signal?: AbortSignal } = {},
): Promise<Plan> {
  checkPlan(plan, view);
  const { fit } = plan;
  if (fit === null || queries === null) {
    checkFitSample(plan, view.shape, queries);
    return plan;
  }
  checkFitSample(plan, view.shape, queries);
  const kvHeads = mostKvHeads(view.shape);
  const given = new Uint8Array(fit.free.length);
  const parts: number[][] = [];
  for (const [index, layer] of view.shape.layers.entries()) {
    const span = [index * kvHeads * plan.rows, (index + 1) * kvHeads * plan.rows] as const;
    if (fit.free.subarray(...span).every((factor) => factor === 0)) continue;
    const target = await layerTarget(view, index);
    const folded = foldLayer(target, plan, index, () => throwIfAborted(options.signal, "materialise"));
    for (let head = 0; head < layer.kvHeads; head++) {
      throwIfAborted(options.signal, "materialise");
      const { values, free } = fitOneHead(target, { plan, fit, sample: queries }, folded, index, head);
      if (values === null) continue;
      for (const row of free) given[(index * kvHeads + head) * plan.rows + row] = 1;
      parts.push([...values]);
      await nextTurn();
    }
  }
  return { ...plan, fit: null, values: valuesOrNone({ given, data: Float32Array.from(parts.flat()) }) };
}

/** Memory in f32 that holds one layer of a view, for work on that layer alone. */
async function layerTarget(view: CacheView, layerIndex: number): Promise<MemoryTarget> {
  const shape: CacheShape = { ...view.shape, layers: view.shape.layers.map(inFloats) };
  const { cells } = shape;
  const layer = shape.layers[layerIndex]!;
  const none = shape.layers.map(() => new Uint8Array(0));
  const keys = rowsOfCells(await view.keys(layerIndex, "stored"), layer.kvHeads, cells, layer.keyDim);
  const values = rowsOfCells(await view.values(layerIndex), layer.kvHeads, cells, layer.valueDim);
  return {
    shape,
    capacity: cells,
    slots: Uint32Array.from({ length: cells }, (_, cell) => cell),
    keys: none.with(layerIndex, keys),
    values: none.with(layerIndex, values),
    positions: view.positions,
    sources: shape.layers.map((_, index) => view.sources(index)),
    bias: view.bias,
  };
}

const inFloats = (layer: LayerShape): LayerShape => ({
  ...layer,
  keyType: "f32",
  valueType: "f32",
  valueLayout: "rows",
  hadamard: { key: 0, value: 0 },
});

/** [kvHeads, cells, channels] -> [cells, kvHeads, channels] */
function rowsOfCells(
  floats: Float32Array,
  kvHeads: number,
  cells: number,
  channels: number,
): Uint8Array<ArrayBuffer> {
  const out = new Float32Array(floats.length);
  for (let head = 0; head < kvHeads; head++) {
    for (let cell = 0; cell < cells; cell++) {
      const from = (head * cells + cell) * channels;
      out.set(floats.subarray(from, from + channels), (cell * kvHeads + head) * channels);
    }
  }
  return new Uint8Array(out.buffer);
}
