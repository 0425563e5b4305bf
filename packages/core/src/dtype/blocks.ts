/** ggml's block types: 32 channels share an f16 scale, and some an f16 minimum. Byte layout and rounding are ggml's. */
import type { DType } from "../shape.js";
import { decodeF16, encodeF16 } from "./half.js";

/** Channels of a block. */
export const BLOCK = 32;
const HALF_BLOCK = BLOCK / 2;

export type BlockType = Exclude<DType, "f32" | "f16" | "bf16">;

/** Reads and writes one block. `from` and `to` index channels, `at` bytes. */
export interface BlockCodec {
  encode(values: Float32Array, from: number, out: Uint8Array, at: number): void;
  decode(bytes: Uint8Array, at: number, out: Float32Array, to: number): void;
}

// The definitions are in f32: every step is rounded, so that bytes agree with ggml's reference quantisers
// (quantize_row_*_ref in ggml-quants.c).
const round = Math.fround;
const reciprocal = (scale: number): number => (scale === 0 ? 0 : round(1 / scale));

const putF16 = (out: Uint8Array, at: number, value: number): void => {
  const bits = encodeF16(value);
  out[at] = bits;
  out[at + 1] = bits >>> 8;
};
const getF16 = (bytes: Uint8Array, at: number): number => decodeF16(bytes[at]! | (bytes[at + 1]! << 8));

/** Truncates into 0..top; NaN, which C leaves undefined, becomes 0. */
const truncate = (value: number, top: number): number =>
  value >= top ? top : value > 0 ? Math.trunc(value) : 0;

/** Nearest integer, halves away from zero (C's roundf), within int8. */
const roundAway = (value: number): number => {
  const magnitude = Math.floor(Math.min(127, Math.abs(value)) + 0.5);
  return value < 0 ? -magnitude : magnitude;
};

/** The quants of one block on their way in or out. */
const quants: Uint8Array = new Uint8Array(BLOCK);

/** Channel j in the low and channel j + 16 in the high half of byte j. */
function putNibbles(out: Uint8Array, at: number): void {
  for (let j = 0; j < HALF_BLOCK; j++)
    out[at + j] = (quants[j]! & 15) | ((quants[j + HALF_BLOCK]! & 15) << 4);
}

function getNibbles(bytes: Uint8Array, at: number): void {
  for (let j = 0; j < HALF_BLOCK; j++) {
    quants[j] = bytes[at + j]! & 15;
    quants[j + HALF_BLOCK] = bytes[at + j]! >>> 4;
  }
}

/** Bit 4 of channel j is bit j of a little-endian u32. */
function putFifthBits(out: Uint8Array, at: number): void {
  for (let byte = 0; byte < 4; byte++) {
    let bits = 0;
    for (let j = 0; j < 8; j++) bits |= (quants[8 * byte + j]! >>> 4) << j;
    out[at + byte] = bits;
  }
}

function addFifthBits(bytes: Uint8Array, at: number): void {
  for (let j = 0; j < BLOCK; j++) quants[j] = quants[j]! | (((bytes[at + (j >>> 3)]! >>> (j & 7)) & 1) << 4);
}

function encodeQ8(values: Float32Array, from: number, out: Uint8Array, at: number): void {
  let largest = 0;
  for (let j = 0; j < BLOCK; j++) largest = Math.max(largest, Math.abs(values[from + j]!));
  const scale = round(largest / 127);
  const inverse = reciprocal(scale);
  putF16(out, at, scale);
  for (let j = 0; j < BLOCK; j++) out[at + 2 + j] = roundAway(round(values[from + j]! * inverse));
}

function decodeQ8(bytes: Uint8Array, at: number, out: Float32Array, to: number): void {
  const scale = getF16(bytes, at);
  for (let j = 0; j < BLOCK; j++) out[to + j] = scale * ((bytes[at + 2 + j]! << 24) >> 24);
}

/** q4_0 and q5_0: value = scale * (quant - zero); the value of largest magnitude gets quant 0. */
function symmetric(zero: 8 | 16): BlockCodec {
  const at5 = 2;
  const atNibbles = zero === 16 ? 6 : 2;
  return {
    encode(values, from, out, at) {
      let largest = 0;
      for (let j = 0; j < BLOCK; j++) {
        const value = values[from + j]!;
        if (Math.abs(largest) < Math.abs(value)) largest = value;
      }
      const scale = round(largest / -zero);
      const inverse = reciprocal(scale);
      for (let j = 0; j < BLOCK; j++) {
        const scaled = round(values[from + j]! * inverse);
        quants[j] = truncate(round(scaled + (zero + 0.5)), 2 * zero - 1);
      }
      putF16(out, at, scale);
      if (zero === 16) putFifthBits(out, at + at5);
      putNibbles(out, at + atNibbles);
    },
    decode(bytes, at, out, to) {
      const scale = getF16(bytes, at);
      getNibbles(bytes, at + atNibbles);
      if (zero === 16) addFifthBits(bytes, at + at5);
      for (let j = 0; j < BLOCK; j++) out[to + j] = scale * (quants[j]! - zero);
    },
  };
}

/** q4_1 and q5_1: value = scale * quant + minimum. */
function affine(top: 15 | 31): BlockCodec {
  const at5 = 4;
  const atNibbles = top === 31 ? 8 : 4;
  return {
    encode(values, from, out, at) {
      let least = Number.POSITIVE_INFINITY;
      let most = Number.NEGATIVE_INFINITY;
      for (let j = 0; j < BLOCK; j++) {
        least = Math.min(least, values[from + j]!);
        most = Math.max(most, values[from + j]!);
      }
      const scale = round(round(most - least) / top);
      const inverse = reciprocal(scale);
      for (let j = 0; j < BLOCK; j++) {
        const scaled = round(round(values[from + j]! - least) * inverse);
        quants[j] = truncate(round(scaled + 0.5), top);
      }
      putF16(out, at, scale);
      putF16(out, at + 2, least);
      if (top === 31) putFifthBits(out, at + at5);
      putNibbles(out, at + atNibbles);
    },
    decode(bytes, at, out, to) {
      const scale = getF16(bytes, at);
      const least = getF16(bytes, at + 2);
      getNibbles(bytes, at + atNibbles);
      if (top === 31) addFifthBits(bytes, at + at5);
      for (let j = 0; j < BLOCK; j++) out[to + j] = scale * quants[j]! + least;
    },
  };
}

/** One codec for each block type. */
export const BLOCK_CODECS: Readonly<Record<BlockType, BlockCodec>> = {
  q8_0: { encode: encodeQ8, decode: decodeQ8 },
  q4_0: symmetric(8),
  q4_1: affine(15),
  q5_0: symmetric(16),
  q5_1: affine(31),
};
