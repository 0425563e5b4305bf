/** Compares what two models expect next: Kullback-Leibler divergence, most likely token, surprise. In double. */
import { KvfoldError } from "@kvfold/core";

/** Logits after one token, and what is needed of them more than once. */
export interface Expected {
  /** [vocabulary] */
  readonly logits: Float32Array;
  /** log of the sum of exp(logit). */
  readonly logSum: number;
  /** The most likely token, ties to the smallest id. */
  readonly top: number;
}

export interface Divergence {
  /** KL(full || folded) in nats. */
  readonly kl: number;
  /** Both expect the same token most. */
  readonly sameTop: boolean;
  /** Negative log-likelihood of the token that did follow, in nats. */
  readonly fullNll: number;
  readonly foldedNll: number;
}

/** @throws KvfoldError KVFOLD_DECODE when no distribution can be made of the logits */
export function expected(logits: Float32Array): Expected {
  let top = 0;
  for (let id = 1; id < logits.length; id++) if (logits[id]! > logits[top]!) top = id;
  const largest = logits[top] ?? Number.NaN;
  let sum = 0;
  for (let id = 0; id < logits.length; id++) sum += Math.exp(logits[id]! - largest);
  const logSum = largest + Math.log(sum);
  if (!Number.isFinite(logSum)) throw notFinite("the logits are not finite numbers");
  return { logits, logSum, top };
}

/**
 * KL(full || folded) = sum of p (log p - log q) over the vocabulary.
 * @param next the token that did follow
 * @throws KvfoldError KVFOLD_DECODE when the folded cache rules out what the full one expects
 */
export function compareExpected(full: Expected, folded: Expected, next: number): Divergence {
  const shift = full.logSum - folded.logSum;
  let kl = 0;
  for (let id = 0; id < full.logits.length; id++) {
    const p = Math.exp(full.logits[id]! - full.logSum);
    // 0 log 0 is 0, also where the logit is minus infinity
    if (p > 0) kl += p * (full.logits[id]! - folded.logits[id]! - shift);
  }
  const fullNll = full.logSum - full.logits[next]!;
  const foldedNll = folded.logSum - folded.logits[next]!;
  if (!Number.isFinite(kl + fullNll + foldedNll)) throw notFinite("the divergence is not a finite number");
  // rounding may take a divergence of nothing below it
  return { kl: Math.max(0, kl), sameTop: full.top === folded.top, fullNll, foldedNll };
}

function notFinite(what: string): KvfoldError {
  return new KvfoldError("KVFOLD_DECODE", what, { who: "kl", hint: "check the model file" });
}
