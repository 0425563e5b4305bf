/**
 * Averages the cells that self-extend puts at the same position, keys turned there first: llama.cpp PR 5719, `mean`.
 *
 *     a b c d e   ratio 2   ->   [(a+b)/2] [(c+d)/2] [e]      at positions 0 1 2
 *
 * Known to fail at retrieval: the merged cell has lost the attention of all of its tokens but one.
 */
import { defineStrategy, type StrategyFactory } from "@kvfold/core";
import { sameSqueezedPosition } from "./parts/grouper.js";
import { mergeBy } from "./parts/merge.js";
import { meanWeigher } from "./parts/weigher.js";

export const mean: StrategyFactory<Record<never, never>> = defineStrategy({
  name: "mean",
  summary: "Averages neighbouring cells.",
  source: "llama.cpp PR 5719",
  scope: "new",
  create: () => ({
    plan: mergeBy({ name: "mean", grouper: sameSqueezedPosition, weigher: meanWeigher, keyFrame: "target" }),
  }),
});
