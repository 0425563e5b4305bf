/** Rows of a shared plan in another order, with other positions. */
import type { SharedPlan, Weights } from "@kvfold/core";

/**
 * The same rows at other positions, sorted by them (rows of equal position keep their order), in key frame `target`.
 * @param positions new position of each row. [rows]
 */
export function moveRows(plan: SharedPlan, positions: Int32Array): SharedPlan {
  const order = Uint32Array.from(positions, (_, row) => row).sort(
    (a, b) => positions[a]! - positions[b]! || a - b,
  );
  const from = memberOrder(plan, order);
  const offsets = new Uint32Array(plan.rows + 1);
  order.forEach((row, index) => {
    offsets[index + 1] = offsets[index]! + plan.offsets[row + 1]! - plan.offsets[row]!;
  });
  return {
    ...plan,
    keyFrame: "target",
    offsets,
    members: from.map((index) => plan.members[index]!),
    positions: Int32Array.from(order, (row) => positions[row]!),
    counts: order.map((row) => plan.counts[row]!),
    bias: plan.bias === null ? null : Float32Array.from(order, (row) => plan.bias![row]!),
    keyWeights: reorder(plan.keyWeights, from),
    valueWeights: reorder(plan.valueWeights, from),
  };
}

// ---------------------------------------------------------------------------------------------------------------

/** Index of each member in the old plan, in the new order. [members] */
function memberOrder(plan: SharedPlan, order: Uint32Array): Uint32Array {
  const from = new Uint32Array(plan.members.length);
  let next = 0;
  for (const row of order) {
    for (let i = plan.offsets[row]!; i < plan.offsets[row + 1]!; i++) from[next++] = i;
  }
  return from;
}

function reorder({ scope, data }: Weights, from: Uint32Array): Weights {
  const members = from.length;
  return { scope, data: data.map((_, i) => data[i - (i % members) + from[i % members]!]!) };
}
