/** Types and lengths of targets and plans, checked before anything native sees them. */
import {
  type KeyShift,
  KvfoldError,
  type KvfoldErrorCode,
  type MergePlan,
  PLAN_VERSION,
  type Weights,
} from "@kvfold/core";
import { layerDifference, rawLayers } from "./layers.js";
import { checkAttached, type NativeTarget } from "./memory.js";

const WHO = "native";
export function fail(code: KvfoldErrorCode, what: string): never {
  throw new KvfoldError(code, what, { who: WHO });
}

type ArrayClass =
  | typeof Int32Array
  | typeof Uint32Array
  | typeof Float32Array
  | typeof Uint16Array
  | typeof Uint8Array;

export function needArray(
  code: KvfoldErrorCode,
  name: string,
  value: unknown,
  type: ArrayClass,
  length?: number,
): void {
  if (!(value instanceof type)) fail(code, `${name} is not a ${type.name}`);
  if (length !== undefined && value.length !== length) {
    fail(code, `${name} has ${value.length} entries, ${length} are needed`);
  }
}

/**
 * A target whose parts fit each other. Its slots are walked natively.
 * @throws KvfoldError KVFOLD_ARGUMENT
 */
export function checkTarget(target: NativeTarget): void {
  const { memory, shape, slots, positions, sources, bias = null } = target;
  checkAttached(memory);
  const { cells, layers } = shape;
  if (layers !== memory.layers) {
    const difference = layerDifference(rawLayers(shape), rawLayers(memory));
    if (difference !== null) fail("KVFOLD_ARGUMENT", difference);
  }
  needArray("KVFOLD_ARGUMENT", "slots", slots, Uint32Array, cells);
  needArray("KVFOLD_ARGUMENT", "positions", positions, Int32Array, cells);
  if (bias !== null) needArray("KVFOLD_ARGUMENT", "bias", bias, Float32Array, cells);
  if (!Array.isArray(sources) || sources.length !== layers.length) {
    fail("KVFOLD_ARGUMENT", `sources needs ${layers.length} entries, one a layer`);
  }
  for (const [index, layer] of layers.entries()) {
    const map = sources[index];
    if (map !== null) {
      needArray("KVFOLD_ARGUMENT", `sources of layer ${index}`, map, Int32Array, layer.kvHeads * cells);
    }
  }
}

/**
 * Cells of the buffers that rows may go to. Range and order are checked natively.
 * @throws KvfoldError KVFOLD_ARGUMENT
 */
export function checkDestinations(destinations: Uint32Array): void {
  needArray("KVFOLD_ARGUMENT", "destinations", destinations, Uint32Array);
}

/**
 * Deltas with one entry a cell. Slots are walked natively.
 * @throws KvfoldError KVFOLD_ARGUMENT
 */
export function checkShift(target: NativeTarget, { deltas, layers = null }: KeyShift): void {
  const { cells, layers: shapes } = target.shape;
  needArray("KVFOLD_ARGUMENT", "deltas", deltas, Int32Array, cells);
  if (layers === null) return;
  if (!Array.isArray(layers) || layers.length !== shapes.length) {
    fail("KVFOLD_ARGUMENT", `deltas by layer need ${shapes.length} entries, one a layer`);
  }
  for (const [index, own] of layers.entries()) {
    if (own === null) continue;
    const length = shapes[index]!.kvHeads * cells;
    needArray("KVFOLD_ARGUMENT", `deltas of layer ${index}`, own, Int32Array, length);
  }
}

function needNumber(name: string, value: unknown, most: number): void {
  if (!Number.isSafeInteger(value) || (value as number) < 0 || (value as number) > most) {
    fail("KVFOLD_PLAN_SHAPE", `${name} is ${String(value)}, a whole number of at most ${most} is needed`);
  }
}

function needWeights(name: string, weights: Weights | undefined): void {
  const scope = weights?.scope;
  if (scope !== "all" && scope !== "layer" && scope !== "head") {
    fail("KVFOLD_PLAN_SHAPE", `${name} has the unknown scope ${String(scope)}`);
  }
  needArray("KVFOLD_PLAN_SHAPE", `${name}.data`, weights?.data, Float32Array);
}

/** Fields of `fit` and `values`; plans made before there were any carry neither. */
function needValueTypes(plan: MergePlan): void {
  const { fit = null, values = null } = plan as Partial<MergePlan>;
  if (fit !== null) {
    if (typeof fit !== "object") fail("KVFOLD_PLAN_SHAPE", "fit is neither an object nor null");
    needArray("KVFOLD_PLAN_SHAPE", "fit.free", fit.free, Uint8Array);
    if (fit.method !== "ridge") fail("KVFOLD_PLAN_FIT", `the method ${String(fit.method)} is unknown`);
    if (typeof fit.lambda !== "number") fail("KVFOLD_PLAN_FIT", `lambda is ${String(fit.lambda)}`);
    for (const name of ["horizon", "maxRows", "holdout"] as const) {
      if (Number.isInteger(fit[name]) && fit[name] > 0 && fit[name] < 2 ** 32) continue;
      fail("KVFOLD_PLAN_FIT", `${name} is ${String(fit[name])}`);
    }
  }
  if (values === null) return;
  if (typeof values !== "object") fail("KVFOLD_PLAN_SHAPE", "values is neither an object nor null");
  needArray("KVFOLD_PLAN_SHAPE", "values.given", values.given, Uint8Array);
  needArray("KVFOLD_PLAN_SHAPE", "values.data", values.data, Float32Array);
}

/**
 * A plan whose fields have their types. Nothing is walked here: lengths and contents are checked natively, off the
 * event loop, with the codes of `checkPlan`.
 * @throws KvfoldError KVFOLD_PLAN_SHAPE
 */
export function checkPlanTypes(plan: MergePlan): void {
  const given: unknown = plan;
  if (typeof given !== "object" || given === null) fail("KVFOLD_PLAN_SHAPE", "the plan is not an object");
  if (plan.version !== PLAN_VERSION) {
    fail("KVFOLD_PLAN_SHAPE", `plan version ${String(plan.version)} is unknown, this is ${PLAN_VERSION}`);
  }
  needNumber("cells", plan.cells, 2 ** 32 - 1);
  needNumber("rows", plan.rows, 2 ** 32 - 1);
  needNumber("dropped", plan.dropped, Number.MAX_SAFE_INTEGER);
  needArray("KVFOLD_PLAN_SHAPE", "positions", plan.positions, Int32Array, plan.rows);
  needArray("KVFOLD_PLAN_SHAPE", "counts", plan.counts, Uint32Array, plan.rows);
  needArray("KVFOLD_PLAN_SHAPE", "members", plan.members, Uint32Array);
  if (plan.bias !== null) needArray("KVFOLD_PLAN_SHAPE", "bias", plan.bias, Float32Array, plan.rows);
  if (plan.pins !== null) needArray("KVFOLD_PLAN_SHAPE", "pins", plan.pins, Uint8Array, plan.cells);
  needValueTypes(plan);
  if (plan.layout === "composite") {
    needNumber("layers", plan.layers, 2 ** 32 - 1);
    needNumber("kvHeads", plan.kvHeads, 2 ** 32 - 1);
  } else if (plan.layout === "shared") {
    if (plan.keyFrame !== "stored" && plan.keyFrame !== "target") {
      fail("KVFOLD_PLAN_SHAPE", `key frame ${String(plan.keyFrame)} is unknown`);
    }
    needArray("KVFOLD_PLAN_SHAPE", "offsets", plan.offsets, Uint32Array);
    needWeights("keyWeights", plan.keyWeights);
    needWeights("valueWeights", plan.valueWeights);
  } else fail("KVFOLD_PLAN_SHAPE", `layout ${String((plan as { layout: unknown }).layout)} is unknown`);
}
