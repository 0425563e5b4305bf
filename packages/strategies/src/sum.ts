/**
 * Adds up the cells that self-extend puts at the same position, keys turned there first: llama.cpp PR 5719, `sum`.
 *
 *     a b c d e   ratio 2   ->   [a+b] [c+d] [e]      at positions 0 1 2
 *
 * Known to fail at retrieval: logits and values grow with the size of the group.
 */
import { defineStrategy, type StrategyFactory } from "@kvfold/core";
import { sameSqueezedPosition } from "./parts/grouper.js";
import { mergeBy } from "./parts/merge.js";
import { sumWeigher } from "./parts/weigher.js";

export const sum: StrategyFactory<Record<never, never>> = defineStrategy({
  name: "sum",
  summary: "Adds neighbouring cells up.",
  source: "llama.cpp PR 5719",
  scope: "new",
  create: () => ({
    plan: mergeBy({ name: "sum", grouper: sameSqueezedPosition, weigher: sumWeigher, keyFrame: "target" }),
  }),
});
