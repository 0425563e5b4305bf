/**
 * The newer, the better: with sinks this is StreamingLLM (arXiv 2309.17453), `evict(by=recency,per=shared)`. Score: the
 * index of the cell. Shared by all heads; no signal needed.
 */
import { defineScorer, type ScorerFactory } from "@kvfold/core";

export const recency: ScorerFactory<Record<never, never>> = defineScorer({
  name: "recency",
  summary: "The newest cells.",
  source: "arXiv 2309.17453",
  create: () => ({
    score: ({ shape }) => ({
      scope: "shared",
      data: Float32Array.from({ length: shape.cells }, (_, cell) => cell),
    }),
  }),
});
