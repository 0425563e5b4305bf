/** The two 16-bit float types, converted in plain integer arithmetic with ties to even, as ggml does. */

const scratch: Float32Array = new Float32Array(1);
const scratchBits: Uint32Array = new Uint32Array(scratch.buffer);

const bitsOf = (value: number): number => {
  scratch[0] = value;
  return scratchBits[0]!;
};

/** Shifts right and rounds to nearest, ties to even. */
function shiftRounded(mantissa: number, shift: number): number {
  const quotient = mantissa >>> shift;
  const rest = mantissa & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  return rest > half || (rest === half && (quotient & 1) === 1) ? quotient + 1 : quotient;
}

/**
 * Bits of the f16 nearest to a number, which is rounded to f32 first (ggml converts from f32). Magnitudes from 65520
 * become infinite, NaN becomes 0x7e00 with its sign.
 */
export function encodeF16(value: number): number {
  const bits = bitsOf(value);
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x47800000) return sign | 0x7c00;
  if (magnitude >= 0x38800000) return sign | shiftRounded(magnitude - 0x38000000, 13);
  if (magnitude < 0x33000000) return sign;
  // subnormal: the mantissa with its hidden bit, in units of 2^-24
  return sign | shiftRounded((magnitude & 0x7fffff) | 0x800000, 126 - (magnitude >>> 23));
}

function computeF16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> 10) & 31;
  const mantissa = bits & 0x3ff;
  if (exponent === 0) return sign * mantissa * 2 ** -24;
  if (exponent === 31) return mantissa === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1024 + mantissa) * 2 ** (exponent - 25);
}

let table: Float32Array | undefined;

/** All 65536 values of f16 by their bits; 256 KiB, made at first use. */
export function f16Table(): Float32Array {
  table ??= Float32Array.from({ length: 65536 }, (_, bits) => computeF16(bits));
  return table;
}

/** The number that the bits of an f16 stand for. */
export const decodeF16 = (bits: number): number => f16Table()[bits & 0xffff]!;

/** Bits of the bf16 nearest to a number (rounded to f32 first), NaN quieted. */
export function encodeBF16(value: number): number {
  const bits = bitsOf(value);
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 64;
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

/** The number that the bits of a bf16 stand for. */
export function decodeBF16(bits: number): number {
  scratchBits[0] = bits << 16;
  return scratch[0]!;
}
