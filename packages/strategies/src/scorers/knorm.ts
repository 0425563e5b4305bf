/**
 * Knorm (arXiv 2406.11430): cells with short keys tend to get much attention. Score: minus the Euclidean norm of the
 * key. Per head; no signal needed.
 */
import { defineScorer, type ScorerFactory } from "@kvfold/core";
import { createBreather } from "../parts/breathe.js";

export const knorm: ScorerFactory<Record<never, never>> = defineScorer({
  name: "knorm",
  summary: "Keys with a small norm.",
  source: "arXiv 2406.11430",
  create: () => ({
    score: async (view, { ops, signal }) => {
      const breathe = createBreather({ signal }, "knorm");
      const layers: Float32Array[] = [];
      for (let layer = 0; layer < view.shape.layers.length; layer++) {
        await breathe();
        const { norm } = await ops.keyStats(view, layer, { signal });
        layers.push(norm.map((length) => -length));
      }
      return { scope: "head", layers };
    },
  }),
});
