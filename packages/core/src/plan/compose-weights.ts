/** Products of weights whose scopes may differ. */
import { planError } from "./check-structure.js";
import type { Weights } from "./plan.js";
import { weightGroups } from "./weights.js";

/** Weights of one plan, and the member that each path takes there. */
export interface WeightedPaths {
  readonly weights: Weights;
  /** Members of the plan. */
  readonly members: number;
  /** [paths] */
  readonly via: readonly number[];
}

/** Weight of path p: `a.weights[a.via[p]] * b.weights[b.via[p]]`, in the finer of the two scopes. */
export function multiplyWeights(a: WeightedPaths, b: WeightedPaths): Weights {
  const groupsOfA = weightGroups(a.weights, a.members);
  const groupsOfB = weightGroups(b.weights, b.members);
  const groups = Math.max(groupsOfA, groupsOfB);
  const agree =
    a.weights.scope === b.weights.scope ? groupsOfA === groupsOfB : dividesBoth(groups, groupsOfA, groupsOfB);
  if (!agree)
    throw planError("KVFOLD_PLAN_COMPOSE", "the plans are for different numbers of layers or KV heads");
  const paths = a.via.length;
  const data = new Float32Array(groups * paths);
  for (let group = 0; group < groups; group++) {
    // heads of a layer lie together, so the layer of a head is its group over the heads of a layer
    const baseOfA = a.members * Math.floor((group * groupsOfA) / groups);
    const baseOfB = b.members * Math.floor((group * groupsOfB) / groups);
    for (let path = 0; path < paths; path++) {
      const left = a.weights.data[baseOfA + a.via[path]!]!;
      data[group * paths + path] = left * b.weights.data[baseOfB + b.via[path]!]!;
    }
  }
  return { scope: finer(a.weights.scope, b.weights.scope), data };
}

const dividesBoth = (groups: number, a: number, b: number): boolean => groups % a === 0 && groups % b === 0;

const RANK = { all: 0, layer: 1, head: 2 } as const;
const finer = (a: Weights["scope"], b: Weights["scope"]): Weights["scope"] => (RANK[a] >= RANK[b] ? a : b);
