/**
 * KeyDiff (arXiv 2504.15364): a cell is worth keeping when its key points away from the others of its head. Score:
 * minus the cosine between the de-rotated key and the mean direction of the head's keys. Per head; no signal needed.
 */
import { defineScorer, type ScorerFactory } from "@kvfold/core";
import { createBreather } from "../parts/breathe.js";

export const keydiff: ScorerFactory<Record<never, never>> = defineScorer({
  name: "keydiff",
  summary: "Keys that point away from the mean key of their head.",
  source: "arXiv 2504.15364",
  create: () => ({
    score: async (view, { ops, signal }) => {
      const breathe = createBreather({ signal }, "keydiff");
      const layers: Float32Array[] = [];
      for (let layer = 0; layer < view.shape.layers.length; layer++) {
        await breathe();
        const { meanCosine } = await ops.keyStats(view, layer, { signal });
        layers.push(meanCosine.map((cosine) => -cosine));
      }
      return { scope: "head", layers };
    },
  }),
});
