/** How far sums of q8_0 blocks in fixed point may lie from exact ones (packages/native-cpu-cuda-metal, q8_sums.h). */
import type { Bound } from "./bounds.js";

/**
 * Factors of 16 bits share 32,640 units: rounding one, and its product with an integer of up to 128, moves the sum by
 * half a unit of 128 / 32,640 / 127 of the magnitude each. An inverse of 15 bits and rounding to 2^-7 of a step before
 * rounding to steps cost 2^-8 of a step each.
 */
export const fixedPointBound = (members: number, magnitude: number): Bound => ({
  absolute: (members * magnitude * 128) / 127 / 32640,
  relative: 0,
  ofBlockMax: 2 ** -7 / 127,
  block: 32,
});
