/** Rules on values that a plan solves for or gives. */
import type { QuerySample } from "../queries.js";
import type { CacheShape, LayerShape } from "../shape.js";
import { type PlanLimits, planError } from "./check-structure.js";
import type { DenseValues, FitRequest, MergePlan } from "./plan.js";
import { markedRows, mostKvHeads } from "./rows.js";

const fitError = (what: string, hint?: string): Error => planError("KVFOLD_PLAN_FIT", what, hint);
const shapeError = (what: string): Error => planError("KVFOLD_PLAN_SHAPE", what);

/** Far above any horizon, row cap or holdout in use; products with it stay exact. */
const MOST = 2 ** 20;
const MOST_LAMBDA = 1e3;
/** A fit has at least so many fitting query rows for each row that it solves for: it is never underdetermined. */
const ROWS_FOR_EACH_FREE = 4;

/**
 * Form of `fit` and `values`: types, lengths as far as the plan tells them, limits, numbers in range. Walks nothing.
 * @throws KvfoldError KVFOLD_PLAN_SHAPE, KVFOLD_PLAN_LIMIT, KVFOLD_PLAN_FIT
 */
export function checkValueForm(plan: MergePlan, limits: PlanLimits): void {
  const { fit, values } = plan;
  if (fit !== null) checkFitForm(plan, fit, limits);
  if (values !== null) checkDenseForm(plan, values, limits);
  if (fit !== null && values !== null) {
    throw fitError("the plan both solves for values and gives values", "leave one of them out");
  }
}

function checkFitForm(plan: MergePlan, fit: FitRequest, limits: PlanLimits): void {
  const given: unknown = fit;
  if (typeof given !== "object" || given === null) throw shapeError("fit is neither an object nor null");
  checkMask(plan, "fit.free", fit.free, limits);
  if (fit.method !== "ridge") throw fitError(`the method ${String(fit.method)} is unknown`, "use ridge");
  if (!(Number.isFinite(fit.lambda) && fit.lambda > 0 && fit.lambda <= MOST_LAMBDA)) {
    throw fitError(`lambda is ${String(fit.lambda)}, must be above 0 and at most ${MOST_LAMBDA}`);
  }
  needWhole("horizon", fit.horizon, 1, MOST);
  needWhole("maxRows", fit.maxRows, 1, MOST);
  needWhole("holdout", fit.holdout, 2, fit.maxRows);
  if (typeof fit.queries !== "string" || !/^[0-9a-f]{64}$/.test(fit.queries)) {
    throw fitError("queries is not the content hash of a sample", "use the hash of view.signals.queries");
  }
}

function needWhole(name: string, value: unknown, least: number, most: number): void {
  if (Number.isInteger(value) && (value as number) >= least && (value as number) <= most) return;
  throw fitError(`${name} is ${String(value)}, must be a whole number of ${least} to ${most}`);
}

function checkDenseForm(plan: MergePlan, values: DenseValues, limits: PlanLimits): void {
  const given: unknown = values;
  if (typeof given !== "object" || given === null) throw shapeError("values is neither an object nor null");
  checkMask(plan, "values.given", values.given, limits);
  if (!(values.data instanceof Float32Array)) throw shapeError("values.data is not a Float32Array");
  if (values.data.length > limits.entries) {
    throw planError(
      "KVFOLD_PLAN_LIMIT",
      `values.data: ${values.data.length} entries, the limit is ${limits.entries}`,
    );
  }
}

/** [layers, kvHeads, rows]; how many layers and heads, only a composite plan tells. */
function checkMask(plan: MergePlan, name: string, mask: unknown, limits: PlanLimits): void {
  if (!(mask instanceof Uint8Array)) throw shapeError(`${name} is not a Uint8Array`);
  if (mask.length > limits.entries) {
    throw planError("KVFOLD_PLAN_LIMIT", `${name}: ${mask.length} entries, the limit is ${limits.entries}`);
  }
  const fits =
    plan.layout === "composite"
      ? mask.length === plan.layers * plan.kvHeads * plan.rows
      : mask.length > 0 && mask.length % plan.rows === 0;
  if (!fits) throw shapeError(`${name} has ${mask.length} entries for ${plan.rows} rows a head`);
}

/**
 * Contents of `fit` and `values`: a mask of 0 and 1, finite numbers, positions for the queries, no more free rows than
 * the query rows can bear.
 * @throws KvfoldError KVFOLD_PLAN_FIT, KVFOLD_PLAN_SHAPE
 */
export function checkValueContents(plan: MergePlan): void {
  const { fit, values } = plan;
  if (fit !== null) {
    if (plan.positions[plan.rows - 1]! + fit.horizon >= 2 ** 31 - 1) {
      throw fitError(`no ${fit.horizon} positions are left after the last row`);
    }
    const fitting = fittingRows(fit.maxRows, fit.holdout);
    eachHead(fit.free, plan.rows, (group, count) => needQuarter(count, fitting, `head ${group}`));
  }
  if (values !== null) {
    checkBits("values.given", values.given);
    const wrong = values.data.findIndex((value) => !Number.isFinite(value));
    if (wrong >= 0) throw fitError(`value ${wrong} of the given values is ${values.data[wrong]}`);
    const rows = markedRows(values.given);
    if (rows === 0 ? values.data.length > 0 : values.data.length < rows) {
      throw shapeError(`${values.data.length} numbers for ${rows} given rows`);
    }
  }
}

function checkBits(name: string, mask: Uint8Array): void {
  const wrong = mask.findIndex((bit) => bit > 1);
  if (wrong >= 0) throw fitError(`${name} has ${mask[wrong]} at index ${wrong}, must be 0 or 1`);
}

function eachHead(mask: Uint8Array, rows: number, visit: (group: number, count: number) => void): void {
  for (let group = 0; group * rows < mask.length; group++) {
    visit(group, markedRows(mask.subarray(group * rows, (group + 1) * rows)));
  }
}

/** Query rows that take part in a fit; the others judge it. */
const fittingRows = (rows: number, holdout: number): number => rows - Math.floor(rows / holdout);

function needQuarter(free: number, fitting: number, where: string): void {
  if (free * ROWS_FOR_EACH_FREE <= fitting) return;
  const most = Math.floor(fitting / ROWS_FOR_EACH_FREE);
  throw fitError(
    `${where} has ${free} free rows, ${fitting} query rows can bear ${most}`,
    "free those that get most attention, or sample more queries",
  );
}

/**
 * `fit` and `values` fit the layers of a cache: one entry for every layer, KV head and row, 0 for heads that a layer
 * lacks; and the query rows that are left for each head bear its free rows.
 * @throws KvfoldError KVFOLD_PLAN_SHAPE, KVFOLD_PLAN_FIT
 */
export function checkValueShape(plan: MergePlan, shape: Pick<CacheShape, "layers">): void {
  const { fit, values, rows } = plan;
  const { layers } = shape;
  const kvHeads = mostKvHeads(shape);
  const check = (name: string, mask: Uint8Array): void => {
    if (mask.length !== layers.length * kvHeads * rows) {
      const want = `${layers.length} layers of ${kvHeads} KV heads and ${rows} rows`;
      throw shapeError(`${name} has ${mask.length} entries, must have one for each of ${want}`);
    }
    layers.forEach((layer, index) => {
      const [from, to] = [(index * kvHeads + layer.kvHeads) * rows, (index + 1) * kvHeads * rows];
      if (mask.subarray(from, to).some((bit) => bit !== 0)) {
        throw fitError(`${name}: layer ${index} has ${layer.kvHeads} KV heads, the others must be 0`);
      }
    });
  };
  if (fit !== null) {
    check("fit.free", fit.free);
    checkQuarters(plan, fit, shape, (layer) => Math.floor(fit.maxRows / groupOf(layer)) * groupOf(layer));
  }
  if (values !== null) {
    check("values.given", values.given);
    let want = 0;
    eachHead(values.given, rows, (group, given) => {
      want += given * layers[Math.floor(group / kvHeads)]!.valueDim;
    });
    if (values.data.length !== want) {
      throw shapeError(`the given values have ${values.data.length} numbers, must have ${want}`);
    }
  }
}

const groupOf = (layer: LayerShape): number => Math.max(1, Math.floor(layer.queryHeads / layer.kvHeads));

function checkQuarters(
  plan: MergePlan,
  fit: FitRequest,
  shape: Pick<CacheShape, "layers">,
  queryRows: (layer: LayerShape, index: number) => number,
): void {
  const kvHeads = mostKvHeads(shape);
  eachHead(fit.free, plan.rows, (group, free) => {
    if (free === 0) return;
    const index = Math.floor(group / kvHeads);
    const fitting = fittingRows(queryRows(shape.layers[index]!, index), fit.holdout);
    needQuarter(free, fitting, `layer ${index}, KV head ${group % kvHeads}`);
  });
}

/**
 * A fit names this sample, which has queries for every layer with a free row, and enough of them. For executors, which
 * see the sample; `checkPlan` does it for views with one.
 * @throws KvfoldError KVFOLD_PLAN_FIT
 */
export function checkFitSample(
  plan: MergePlan,
  shape: Pick<CacheShape, "layers">,
  sample: QuerySample | null,
): void {
  const { fit } = plan;
  if (fit === null) return;
  if (sample === null || sample.hash !== fit.queries) {
    const found = sample === null ? "there is none" : `the sample is ${sample.hash.slice(0, 12)}`;
    const what = `the fit names the query sample ${fit.queries.slice(0, 12)}, ${found}`;
    throw fitError(what, "make the plan from a view of this cache, with the signal queries");
  }
  checkQuarters(plan, fit, shape, (layer, index) => {
    const queries = sample.layers[index] ?? null;
    if (queries === null) {
      const what = `layer ${index} has free rows, but no queries were sampled there`;
      throw fitError(what, "its attention is more than softmax(scale q.k) v: leave its values as they are");
    }
    const group = queries.heads / layer.kvHeads;
    return group * Math.min(sample.positions.length, Math.floor(fit.maxRows / group));
  });
}
