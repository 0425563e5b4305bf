/** The normalised Walsh-Hadamard transform that llama.cpp applies to quantised keys and values; its own inverse. */
import { KvfoldError } from "./errors.js";

/** True when `channels` split into blocks whose size is a power of two. */
export const hadamardFits = (channels: number, block: number): boolean =>
  Number.isSafeInteger(block) &&
  block >= 1 &&
  2 ** Math.round(Math.log2(block)) === block &&
  channels % block === 0;

/**
 * Multiplies every block of `block` channels by H / sqrt(block), natural (Sylvester) order, in place. Twice gives the
 * input back. Source: QuaRot (arXiv 2404.00456), `ggml_gen_hadamard` in llama.cpp.
 *
 * @param data holds `channels` numbers from `offset`
 * @param block a power of two that divides `channels`
 * @throws KvfoldError KVFOLD_ARGUMENT
 */
export function hadamardTransform(
  data: Float32Array | Float64Array,
  offset: number,
  channels: number,
  block: number,
): void {
  if (!hadamardFits(channels, block)) {
    throw new KvfoldError(
      "KVFOLD_ARGUMENT",
      `${channels} channels do not split into Hadamard blocks of ${block}`,
      {
        who: "hadamard",
        hint: "the block must be a power of two that divides the channels of a head",
      },
    );
  }
  const scale = 1 / Math.sqrt(block);
  for (let start = offset; start < offset + channels; start += block) {
    for (let half = 1; half < block; half *= 2) butterflies(data, start, block, half);
    for (let i = start; i < start + block; i++) data[i] = data[i]! * scale;
  }
}

/** One stage: every pair (x, y) at distance `half` becomes (x + y, x - y). */
function butterflies(data: Float32Array | Float64Array, start: number, block: number, half: number): void {
  for (let group = start; group < start + block; group += 2 * half) {
    for (let i = group; i < group + half; i++) {
      const x = data[i]!;
      const y = data[i + half]!;
      data[i] = x + y;
      data[i + half] = x - y;
    }
  }
}
