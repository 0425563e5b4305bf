/**
 * Of the cells that self-extend puts at the same position, KV head h keeps the one with index h mod N, its key turned
 * there: llama.cpp PR 5719, `head-pick`. A group with fewer cells gives its last one.
 *
 *     head 0   a b c d e   ratio 2   ->   a c e      at positions 0 1 2
 *     head 1   a b c d e             ->   b d e
 *
 * Every token survives in some heads only, so whatever needs all heads is lost.
 */
import { defineStrategy, type StrategyFactory } from "@kvfold/core";
import { sameSqueezedPosition } from "./parts/grouper.js";
import { mergeBy } from "./parts/merge.js";
import { headPickWeigher } from "./parts/weigher.js";

export const headPick: StrategyFactory<Record<never, never>> = defineStrategy({
  name: "head-pick",
  summary: "Each KV head keeps another one of neighbouring cells.",
  source: "llama.cpp PR 5719",
  scope: "new",
  create: () => ({
    plan: mergeBy({
      name: "head-pick",
      grouper: sameSqueezedPosition,
      weigher: headPickWeigher,
      keyFrame: "target",
    }),
  }),
});
