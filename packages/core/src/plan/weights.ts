/** Where the weight of a member lies, whatever the scope. */
import type { Weights } from "./plan.js";

/** How many independent sets of weights there are: 1, the layers, or layers times KV heads. */
export const weightGroups = (weights: Weights, members: number): number =>
  weights.scope === "all" || members === 0 ? 1 : weights.data.length / members;

/**
 * Index of the weight of member 0 for one layer and KV head.
 * @param kvHeads most KV heads of any layer, to which the scope `head` is padded
 */
export function weightBase(
  weights: Weights,
  members: number,
  kvHeads: number,
  layer: number,
  head: number,
): number {
  if (weights.scope === "all") return 0;
  return members * (weights.scope === "layer" ? layer : layer * kvHeads + head);
}

/** True when member `index` has weight 1 in every layer and head. */
export const weighsOne = (weights: Weights, members: number, index: number): boolean =>
  everyGroup(weights, members, index, 1);

/** True when member `index` has weight 0 in every layer and head. */
export const weighsNothing = (weights: Weights, members: number, index: number): boolean =>
  everyGroup(weights, members, index, 0);

function everyGroup(weights: Weights, members: number, index: number, value: number): boolean {
  for (let i = index; i < weights.data.length; i += members) if (weights.data[i] !== value) return false;
  return true;
}
