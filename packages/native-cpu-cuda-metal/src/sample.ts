/** The query sample of a fit or of an operation: checked, and cut down to what native code will read. */
import {
  type CacheShape,
  type LayerShape,
  type MergePlan,
  mostKvHeads,
  type QueryLayer,
  type QuerySample,
} from "@kvfold/core";
import type { RawSample } from "./addon.js";
import { fail, needArray } from "./arguments.js";

/** Bytes that attention and fits may work in by default. */
export const DEFAULT_MEMORY_LIMIT: number = 2 ** 30;

/**
 * One layer of a sample.
 * @throws KvfoldError KVFOLD_ARGUMENT when the layer has no queries, or others than its shape says
 */
export function layerSample(
  sample: QuerySample,
  layer: number,
  shape: CacheShape,
): { readonly positions: Int32Array; readonly queries: QueryLayer } {
  const layers = layersOf(sample, shape);
  const queries = layers[layer] ?? null;
  if (queries === null) fail("KVFOLD_ARGUMENT", `the query sample has no queries of layer ${layer}`);
  checkQueries(queries, sample.positions.length, shape.layers[layer]!, layer);
  return { positions: sample.positions, queries };
}

/**
 * The part of a sample that the fit of a plan reads: layers with free rows, and their first samples. null without a fit.
 * @throws KvfoldError KVFOLD_PLAN_FIT when it is not the sample that the fit names, KVFOLD_ARGUMENT when it is none,
 * KVFOLD_PLAN_SHAPE when the mask does not fit the cache
 */
export function sampleOfPlan(
  plan: MergePlan,
  shape: CacheShape,
  sample: QuerySample | null,
): RawSample | null {
  const { fit = null } = plan as Partial<MergePlan>;
  if (fit === null) return null;
  needArray(
    "KVFOLD_PLAN_SHAPE",
    "fit.free",
    fit.free,
    Uint8Array,
    shape.layers.length * mostKvHeads(shape) * plan.rows,
  );
  if (sample === null || sample.hash !== fit.queries) {
    const found = sample === null ? "there is none" : `this is ${String(sample.hash).slice(0, 12)}`;
    fail("KVFOLD_PLAN_FIT", `the fit names the query sample ${String(fit.queries).slice(0, 12)}, ${found}`);
  }
  const layers = layersOf(sample, shape);
  const entries = fit.free.length / shape.layers.length;
  let most = 0;
  const read = layers.map((queries, index) => {
    const own = fit.free.subarray(index * entries, (index + 1) * entries);
    if (own.every((factor) => factor === 0)) return null;
    if (queries === null) {
      fail("KVFOLD_PLAN_FIT", `layer ${index} has free rows, but no queries were sampled there`);
    }
    const layer = shape.layers[index]!;
    checkQueries(queries, sample.positions.length, layer, index);
    most = Math.max(most, Math.floor((fit.maxRows * layer.kvHeads) / queries.heads));
    return queries;
  });
  return firstSamples({ positions: sample.positions, layers: read }, most, shape);
}

/** Arrays are copied for native code, so it gets no more than it reads. */
function firstSamples({ positions, layers }: RawSample, most: number, shape: CacheShape): RawSample {
  const count = Math.min(positions.length, most);
  const cut = (queries: QueryLayer | null, index: number): QueryLayer | null => {
    if (queries === null) return null;
    return {
      ...queries,
      rows: queries.rows.subarray(0, count * queries.heads * shape.layers[index]!.keyDim),
    };
  };
  return { positions: positions.subarray(0, count), layers: layers.map(cut) };
}

function layersOf(sample: QuerySample, shape: CacheShape): readonly (QueryLayer | null)[] {
  const given: unknown = sample;
  if (typeof given !== "object" || given === null)
    fail("KVFOLD_ARGUMENT", "the query sample is not an object");
  needArray("KVFOLD_ARGUMENT", "positions of the query sample", sample.positions, Int32Array);
  if (!Array.isArray(sample.layers) || sample.layers.length !== shape.layers.length) {
    fail("KVFOLD_ARGUMENT", `the query sample needs ${shape.layers.length} layers`);
  }
  return sample.layers;
}

function checkQueries(queries: QueryLayer, samples: number, layer: LayerShape, index: number): void {
  const { heads, scale, rows } = queries;
  if (!Number.isInteger(heads) || heads <= 0 || heads % layer.kvHeads !== 0) {
    fail(
      "KVFOLD_ARGUMENT",
      `layer ${index}: ${String(heads)} query heads do not belong to ${layer.kvHeads} KV heads`,
    );
  }
  if (!Number.isFinite(scale))
    fail("KVFOLD_ARGUMENT", `layer ${index}: the attention scale is ${String(scale)}`);
  needArray(
    "KVFOLD_ARGUMENT",
    `queries of layer ${index}`,
    rows,
    Uint16Array,
    samples * heads * layer.keyDim,
  );
}
