/**
 * Tokens that the model did not expect. Score: -log p(token | tokens before it), the largest among a cell and its two
 * neighbours, so that a rare name or number is kept whole although its later tokens are easy to guess.
 *
 *     -log p   0.1 7.0 0.2 0.1 ? 0.3        ? = unknown, lowest of all
 *     score    7.0 7.0 7.0 0.2 0.3 0.3
 *
 * Shared by all heads; needs the signal tokenLogProbs.
 */
import { type CacheView, defineScorer, KvfoldError, type ScorerFactory } from "@kvfold/core";

export const surprise: ScorerFactory<Record<never, never>> = defineScorer({
  name: "surprise",
  summary: "Tokens that the model did not expect, and their neighbours.",
  signals: ["tokenLogProbs"],
  create: () => ({
    score: (view) => ({ scope: "shared", data: largestOfThree(surpriseOf(view, "surprise")) }),
  }),
});

/**
 * -log p(token | tokens before it) of every cell by itself, unknown ones lowest. [cells]
 * @throws KvfoldError KVFOLD_SIGNAL_MISSING
 */
export function surpriseOf({ signals: { tokenLogProbs } }: CacheView, who: string): Float32Array {
  if (tokenLogProbs === null) {
    throw new KvfoldError("KVFOLD_SIGNAL_MISSING", "the cache has no signal tokenLogProbs", {
      who,
      hint: "ask for it before the prompt is read: it cannot be had afterwards",
    });
  }
  return tokenLogProbs.map(unexpected);
}

// ---------------------------------------------------------------------------------------------------------------

const unexpected = (logProb: number): number => (Number.isNaN(logProb) ? Number.NEGATIVE_INFINITY : -logProb);

function largestOfThree(values: Float32Array): Float32Array {
  const last = values.length - 1;
  return values.map((value, i) =>
    Math.max(value, values[Math.max(0, i - 1)]!, values[Math.min(last, i + 1)]!),
  );
}
