/** Every rule that a plan must obey before an executor may touch a cache. */
import type { CacheShape } from "../shape.js";
import type { CacheView } from "../view.js";
import { checkPins } from "./check-pins.js";
import {
  checkBiasKept,
  checkBiasRange,
  checkCounts,
  checkDisjoint,
  checkMemberRange,
  checkOffsets,
  checkOrder,
  checkPadding,
  checkWeights,
} from "./check-rules.js";
import { checkStructure, DEFAULT_PLAN_LIMITS, type PlanLimits, planError } from "./check-structure.js";
import { checkFitSample, checkValueContents, checkValueForm, checkValueShape } from "./check-values.js";
import type { CompositePlan, MergePlan, SharedPlan, Weights } from "./plan.js";
import { mostKvHeads } from "./rows.js";

/**
 * What a check needs of a view. Without `sources` all keys count as rotated to their positions, which only matters for
 * pins in a plan of key frame `target`. With a query sample among the signals, a fit must name it.
 */
export type PlanCheckView = Pick<CacheView, "shape" | "positions" | "counts" | "bias"> &
  Partial<Pick<CacheView, "sources" | "signals">>;

/**
 * Checks a plan against the cache it was made for.
 *
 * @throws KvfoldError KVFOLD_PLAN_SHAPE, _LIMIT, _MEMBER_RANGE, _NOT_DISJOINT, _ORDER, _COUNTS, _WEIGHT, _BIAS, _FIT, _PIN:
 * the first rule that is broken, in this order of rules
 *
 * @example
 * checkPlan(sharedPlan(view, rows), view); // returns, or throws
 */
export function checkPlan(
  plan: MergePlan,
  view: PlanCheckView,
  limits: PlanLimits = DEFAULT_PLAN_LIMITS,
): void {
  checkStructure(plan, limits);
  checkValueForm(plan, limits);
  checkFits(plan, view.shape);
  checkContents(plan);
  if (plan.layout === "composite") checkPadding(plan, view.shape.layers);
  checkCounts(
    plan,
    view.counts.reduce((sum, count) => sum + count, 0),
  );
  checkBiasKept(plan, view.bias);
  const sample = view.signals?.queries ?? null;
  if (sample !== null) checkFitSample(plan, view.shape, sample);
  checkPins(plan, {
    shape: view.shape,
    positions: view.positions,
    ...(view.sources === undefined ? {} : { sources: (layer: number) => view.sources?.(layer) ?? null }),
  });
}

/**
 * The rules that need no cache: for a plan from a file, and for executors, which see memory but no counts.
 * @param shape when known, the plan must fit it
 * @throws KvfoldError the same codes
 */
export function checkPlanAlone(
  plan: MergePlan,
  shape: CacheShape | null = null,
  limits: PlanLimits = DEFAULT_PLAN_LIMITS,
): void {
  checkStructure(plan, limits);
  checkValueForm(plan, limits);
  if (shape !== null) checkFits(plan, shape);
  checkContents(plan);
  checkCounts(plan, null);
  checkPins(plan, null);
}

/** Rules on contents that any plan obeys by itself. */
function checkContents(plan: MergePlan): void {
  if (plan.layout === "shared") checkOffsets(plan);
  checkMemberRange(plan);
  checkDisjoint(plan);
  checkOrder(plan);
  if (plan.layout === "shared") checkWeights(plan);
  checkBiasRange(plan);
  checkValueContents(plan);
}

/** The plan has the cells, layers and heads of the cache. */
function checkFits(plan: MergePlan, shape: CacheShape): void {
  if (plan.cells !== shape.cells) {
    const what = `made for ${plan.cells} cells, the cache has ${shape.cells}`;
    throw planError("KVFOLD_PLAN_SHAPE", what, "make the plan from a fresh view");
  }
  if (plan.layout === "shared") checkScopes(plan, shape);
  else checkHeads(plan, shape);
  checkValueShape(plan, shape);
}

/** A composite plan has a source for every layer and head. */
function checkHeads(plan: CompositePlan, shape: CacheShape): void {
  const kvHeads = mostKvHeads(shape);
  if (plan.layers !== shape.layers.length || plan.kvHeads !== kvHeads) {
    const what = `made for ${plan.layers} layers of ${plan.kvHeads} KV heads`;
    throw planError("KVFOLD_PLAN_SHAPE", `${what}, the cache has ${shape.layers.length} of ${kvHeads}`);
  }
}

/** Weights of scope layer or head have an entry for every layer or head. */
function checkScopes(plan: SharedPlan, shape: CacheShape): void {
  const groups = { all: 1, layer: shape.layers.length, head: shape.layers.length * mostKvHeads(shape) };
  const needGroups = (name: string, { scope, data }: Weights): void => {
    const want = groups[scope] * plan.members.length;
    if (data.length !== want) {
      throw planError(
        "KVFOLD_PLAN_SHAPE",
        `${name} of scope ${scope} has ${data.length} entries, must have ${want}`,
      );
    }
  };
  needGroups("keyWeights", plan.keyWeights);
  needGroups("valueWeights", plan.valueWeights);
}
