/**
 * KVzip (arXiv 2505.23416): a cell is worth what it took to say the context again. Score: the largest softmax weight
 * that the cell got while the model read its context a second time. Per head; needs the signal repeat.
 */
import { defineScorer, type ScorerFactory } from "@kvfold/core";
import { needRepeat } from "../parts/need-repeat.js";

export const repeat: ScorerFactory<Record<never, never>> = defineScorer({
  name: "repeat",
  summary: "Cells that the model needs to read its context a second time.",
  source: "arXiv 2505.23416",
  signals: ["repeat"],
  create: () => ({
    score: (view) => ({ scope: "head", layers: needRepeat(view, "repeat").layers }),
  }),
});
