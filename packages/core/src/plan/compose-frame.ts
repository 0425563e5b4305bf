/** In which key frame two shared plans can be said as one. */
import { planError } from "./check-structure.js";
import type { SharedPlan } from "./plan.js";
import { weighsNothing, weightGroups } from "./weights.js";

/**
 * Key frame of the product.
 * - `stored` twice, `target` twice: keys combine as they lie; or turn to where they end, by way of where they were.
 * - `target` then `stored`: keys stay where the first plan turned them, so the rows of the second must be there too.
 * - `stored` then `target`: the second turns merged keys by one common angle, each member by its own would differ.
 *
 * @throws KvfoldError KVFOLD_PLAN_COMPOSE
 */
export function composedFrame(first: SharedPlan, second: SharedPlan): SharedPlan["keyFrame"] {
  if (first.keyFrame === second.keyFrame) return first.keyFrame;
  if (first.keyFrame === "target") needSamePositions(first, second);
  else needSingleKeys(first, second);
  return "target";
}

function needSamePositions(first: SharedPlan, second: SharedPlan): void {
  for (let row = 0; row < second.rows; row++) {
    for (let i = second.offsets[row]!; i < second.offsets[row + 1]!; i++) {
      const from = first.positions[second.members[i]!]!;
      const moves =
        from !== second.positions[row] && !weighsNothing(second.keyWeights, second.members.length, i);
      if (!moves) continue;
      const what = `the first plan rotates keys to position ${from}, the second moves them to ${second.positions[row]}`;
      throw planError("KVFOLD_PLAN_COMPOSE", `${what} as they lie`, "apply them one after the other");
    }
  }
}

function needSingleKeys(first: SharedPlan, second: SharedPlan): void {
  for (const row of second.members) {
    if (!mergesKeys(first, row)) continue;
    const what = `the first plan merges the keys of row ${row} as they lie, the second rotates the result`;
    throw planError("KVFOLD_PLAN_COMPOSE", what, "apply them one after the other");
  }
}

/** True when some layer and head gives two members of a row a key weight. */
function mergesKeys(plan: SharedPlan, row: number): boolean {
  const { length } = plan.members;
  for (let group = 0; group < weightGroups(plan.keyWeights, length); group++) {
    const weights = plan.keyWeights.data.subarray(
      group * length + plan.offsets[row]!,
      group * length + plan.offsets[row + 1]!,
    );
    if (weights.filter((weight) => weight !== 0).length > 1) return true;
  }
  return false;
}
