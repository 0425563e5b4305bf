/** How fast a sequence decodes, and the middle and other quantiles of several measurements. */
import { throwIfAborted } from "@kvfold/core";
import type { EvalSequence } from "./engine.js";

/** Steps that are timed. */
export const DECODE_STEPS = 24;
/** Steps before them: the first ones after a fold build new graphs. */
const WARM_UP_STEPS = 3;

/** Tokens that `decodeSteps` adds to the sequence. */
export const DECODE_TOKENS: number = WARM_UP_STEPS + DECODE_STEPS;

/**
 * Decodes real tokens one by one and returns the milliseconds of each step, but for the first ones. The sequence is longer
 * afterwards.
 * @param tokens what to decode, over and over
 */
export async function decodeSteps<S>(
  sequence: EvalSequence<S>,
  tokens: Int32Array,
  signal?: AbortSignal,
): Promise<number[]> {
  const steps: number[] = [];
  for (let step = 0; step < DECODE_TOKENS; step++) {
    throwIfAborted(signal, "decode speed");
    const started = performance.now();
    await sequence.decode(tokens[step % tokens.length]!);
    if (step >= WARM_UP_STEPS) steps.push(performance.now() - started);
  }
  return steps;
}

/** Tokens per second of `decodeSteps`, all steps together. */
export async function decodeSpeed<S>(
  sequence: EvalSequence<S>,
  tokens: Int32Array,
  signal?: AbortSignal,
): Promise<number> {
  const steps = await decodeSteps(sequence, tokens, signal);
  return (1000 * steps.length) / steps.reduce((sum, each) => sum + each, 0);
}

/** The middle value, the mean of the two middle ones for an even number; NaN of nothing. */
export function median(values: readonly number[]): number {
  return quantile(Float64Array.from(values).sort(), 0.5);
}

/** The value below which a share of sorted values lies, on a line between neighbours; NaN of nothing. */
export function quantile(sorted: ArrayLike<number>, share: number): number {
  if (sorted.length === 0) return Number.NaN;
  const place = share * (sorted.length - 1);
  const below = Math.floor(place);
  const low = sorted[below]!;
  const high = sorted[Math.min(below + 1, sorted.length - 1)]!;
  return low + (high - low) * (place - below);
}
