/** Rules on a plan's own form: types, lengths and limits. Nothing is walked here. */
import { KvfoldError, type KvfoldErrorCode } from "../errors.js";
import type { MergePlan, SharedPlan, Weights } from "./plan.js";
import { PLAN_VERSION } from "./plan.js";

/** Sizes that a plan may have at most. */
export interface PlanLimits {
  /** Cells of the cache. */
  readonly cells: number;
  /** Members, weights or composite sources: the entries of any one array. */
  readonly entries: number;
}

/** 16 Mi cells; 256 Mi entries (1 GiB an array). */
export const DEFAULT_PLAN_LIMITS: PlanLimits = { cells: 2 ** 24, entries: 2 ** 28 };

/** A mistake in a plan. */
export function planError(code: KvfoldErrorCode, what: string, hint?: string): KvfoldError {
  return new KvfoldError(code, what, hint === undefined ? { who: "plan" } : { who: "plan", hint });
}

const shapeError = (what: string): KvfoldError => planError("KVFOLD_PLAN_SHAPE", what);

type ArrayClass = typeof Int32Array | typeof Uint32Array | typeof Float32Array | typeof Uint8Array;

function needArray(name: string, value: unknown, type: ArrayClass, length: number | null): void {
  if (!(value instanceof type)) throw shapeError(`${name} is not a ${type.name}`);
  if (length !== null && value.length !== length) {
    throw shapeError(`${name} has ${value.length} entries, must have ${length}`);
  }
}

function needCount(name: string, value: unknown, least: number): void {
  if (!Number.isSafeInteger(value) || (value as number) < least) {
    throw shapeError(`${name} is ${String(value)}, must be a whole number of at least ${least}`);
  }
}

function needLimit(name: string, value: number, limit: number): void {
  if (value > limit) {
    throw planError(
      "KVFOLD_PLAN_LIMIT",
      `${name}: ${value}, the limit is ${limit}`,
      "pass larger limits if that is meant",
    );
  }
}

/**
 * Checks what every later rule relies on: the object has the arrays of its layout, of the right class and length.
 * @throws KvfoldError KVFOLD_PLAN_SHAPE, KVFOLD_PLAN_LIMIT
 */
export function checkStructure(plan: MergePlan, limits: PlanLimits = DEFAULT_PLAN_LIMITS): void {
  const given: unknown = plan;
  if (typeof given !== "object" || given === null) throw shapeError("not an object");
  if (plan.version !== PLAN_VERSION) {
    throw shapeError(`version ${String(plan.version)} is unknown, this is version ${PLAN_VERSION}`);
  }
  checkSizes(plan, limits);
  checkBase(plan);
  if (plan.layout === "shared") checkShared(plan);
  else checkCompositeArrays(plan.members, plan.layers * plan.kvHeads * plan.rows);
}

function checkSizes(plan: MergePlan, limits: PlanLimits): void {
  needCount("cells", plan.cells, 1);
  needCount("rows", plan.rows, 1);
  needCount("dropped", plan.dropped, 0);
  needLimit("cells", plan.cells, limits.cells);
  needLimit("rows", plan.rows, limits.cells);
  if (plan.rows > plan.cells) throw shapeError(`${plan.rows} rows out of ${plan.cells} cells`);
  if (plan.layout === "composite") {
    needCount("layers", plan.layers, 1);
    needCount("kvHeads", plan.kvHeads, 1);
    needLimit("composite members", plan.layers * plan.kvHeads * plan.rows, limits.entries);
  } else if (plan.layout === "shared") {
    for (const weights of [plan.keyWeights, plan.valueWeights]) {
      const data: unknown = weights?.data;
      if (data instanceof Float32Array) needLimit("weights", data.length, limits.entries);
    }
  } else throw shapeError(`layout ${String((plan as { layout: unknown }).layout)} is unknown`);
}

function checkBase(plan: MergePlan): void {
  needArray("positions", plan.positions, Int32Array, plan.rows);
  needArray("counts", plan.counts, Uint32Array, plan.rows);
  if (plan.bias !== null) needArray("bias", plan.bias, Float32Array, plan.rows);
  if (plan.pins !== null) needArray("pins", plan.pins, Uint8Array, plan.cells);
}

function checkShared(plan: SharedPlan): void {
  needArray("offsets", plan.offsets, Uint32Array, plan.rows + 1);
  needArray("members", plan.members, Uint32Array, null);
  const { length } = plan.members;
  if (length > plan.cells) throw shapeError(`${length} members out of ${plan.cells} cells`);
  if (plan.keyFrame !== "stored" && plan.keyFrame !== "target") {
    throw shapeError(`key frame ${String(plan.keyFrame)} is unknown`);
  }
  checkWeights("keyWeights", plan.keyWeights, length);
  checkWeights("valueWeights", plan.valueWeights, length);
}

function checkWeights(name: string, weights: Weights, members: number): void {
  const given: unknown = weights;
  if (typeof given !== "object" || given === null) throw shapeError(`${name} is missing`);
  if (weights.scope !== "all" && weights.scope !== "layer" && weights.scope !== "head") {
    throw shapeError(`${name} has the unknown scope ${String(weights.scope)}`);
  }
  needArray(`${name}.data`, weights.data, Float32Array, weights.scope === "all" ? members : null);
  const { length } = weights.data;
  if (members === 0 || length === 0 || length % members !== 0) {
    throw shapeError(`${name} has ${length} entries for ${members} members`);
  }
}

function checkCompositeArrays(members: unknown, length: number): void {
  needArray("members", members, Uint32Array, length);
}
