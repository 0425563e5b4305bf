/** How fast a sequence decodes, and the middle of several measurements. */
import { throwIfAborted } from "@kvfold/core";
import type { EvalSequence } from "./engine.js";

/** Steps that are timed. */
export const DECODE_STEPS = 24;
/** Steps before them: the first ones after a fold build new graphs. */
const WARM_UP_STEPS = 3;

/** Tokens that `decodeSpeed` adds to the sequence. */
export const DECODE_TOKENS: number = WARM_UP_STEPS + DECODE_STEPS;

/**
 * Decodes real tokens one by one and returns tokens per second. The sequence is longer afterwards.
 * @param tokens what to decode, over and over
 */
export async function decodeSpeed<S>(
  sequence: EvalSequence<S>,
  tokens: Int32Array,
  signal?: AbortSignal,
): Promise<number> {
  let started = 0;
  for (let step = 0; step < DECODE_TOKENS; step++) {
    throwIfAborted(signal, "decode speed");
    if (step === WARM_UP_STEPS) started = performance.now();
    await sequence.decode(tokens[step % tokens.length]!);
  }
  return (DECODE_STEPS * 1000) / (performance.now() - started);
}

/** The middle value, the mean of the two middle ones for an even number; NaN of nothing. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length === 0) return Number.NaN;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
