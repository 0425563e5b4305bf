/** Storage types of cache rows: sizes, and rows of floats to bytes and back. */
import { KvfoldError } from "../errors.js";
import type { DType } from "../shape.js";
import { BLOCK, BLOCK_CODECS } from "./blocks.js";
import { decodeBF16, encodeBF16, encodeF16, f16Table } from "./half.js";

/** What one type needs for a row. */
export interface DTypeInfo {
  /** Number of the type in ggml and in GGUF files. */
  readonly ggmlType: number;
  /** Channels that are stored together; a row holds whole blocks. */
  readonly blockChannels: number;
  /** Bytes of these channels. */
  readonly blockBytes: number;
}

/** All types that a cache may store. */
export const DTYPES: Readonly<Record<DType, DTypeInfo>> = {
  f32: { ggmlType: 0, blockChannels: 1, blockBytes: 4 },
  f16: { ggmlType: 1, blockChannels: 1, blockBytes: 2 },
  bf16: { ggmlType: 30, blockChannels: 1, blockBytes: 2 },
  q8_0: { ggmlType: 8, blockChannels: BLOCK, blockBytes: 34 },
  q4_0: { ggmlType: 2, blockChannels: BLOCK, blockBytes: 18 },
  q4_1: { ggmlType: 3, blockChannels: BLOCK, blockBytes: 20 },
  q5_0: { ggmlType: 6, blockChannels: BLOCK, blockBytes: 22 },
  q5_1: { ggmlType: 7, blockChannels: BLOCK, blockBytes: 24 },
};

/** True for a name of the table. */
export const isDType = (name: unknown): name is DType =>
  typeof name === "string" && Object.hasOwn(DTYPES, name);

/** True when channels share a scale in blocks. */
export const isBlockType = (dtype: DType): boolean => DTYPES[dtype].blockChannels > 1;

/**
 * Bytes of a row of `channels` channels.
 * @throws KvfoldError KVFOLD_ARGUMENT for an unknown type, a part of a block, or a size beyond 2^53
 */
export function rowBytes(dtype: DType, channels: number): number {
  if (!isDType(dtype))
    throw new KvfoldError("KVFOLD_ARGUMENT", `unknown storage type ${String(dtype)}`, { who: "dtype" });
  const { blockChannels, blockBytes } = DTYPES[dtype];
  const blocks = channels / blockChannels;
  if (!Number.isSafeInteger(channels) || channels < 1 || !Number.isInteger(blocks)) {
    const unit = blockChannels === 1 ? "a positive whole number" : `a multiple of ${blockChannels}`;
    throw new KvfoldError("KVFOLD_ARGUMENT", `${channels} channels of ${dtype}: must be ${unit}`, {
      who: "dtype",
    });
  }
  const bytes = blocks * blockBytes;
  if (!Number.isSafeInteger(bytes)) {
    throw new KvfoldError("KVFOLD_ARGUMENT", `a row of ${channels} channels is too large`, { who: "dtype" });
  }
  return bytes;
}

function needLength(what: string, got: number, want: number): void {
  if (got >= want) return;
  throw new KvfoldError("KVFOLD_ARGUMENT", `${what} is too short: ${got}, needs ${want}`, { who: "dtype" });
}

/**
 * Floats of a row. Exact: every stored value is an f32.
 * @param bytes the row, from its first byte
 * @param channels how many to read; whole blocks
 * @param out filled from index 0; made when left out. [channels]
 * @throws KvfoldError KVFOLD_ARGUMENT when an array is too short
 */
export function decodeRow(
  dtype: DType,
  bytes: Uint8Array,
  channels: number,
  out: Float32Array = new Float32Array(channels),
): Float32Array {
  needLength("the row", bytes.length, rowBytes(dtype, channels));
  needLength("the output", out.length, channels);
  if (dtype === "f32") decodeF32(bytes, channels, out);
  else if (dtype === "f16") decodeHalves(bytes, channels, out);
  else if (dtype === "bf16") decodeBrainHalves(bytes, channels, out);
  else {
    const { blockBytes } = DTYPES[dtype];
    const codec = BLOCK_CODECS[dtype];
    for (let to = 0, at = 0; to < channels; to += BLOCK, at += blockBytes) codec.decode(bytes, at, out, to);
  }
  return out;
}

/**
 * Bytes of a row, in ggml's layout and rounding; values are rounded to f32 first.
 * @param values all channels of the row; whole blocks
 * @param out filled from byte 0; made when left out
 * @throws KvfoldError KVFOLD_ARGUMENT when an array is too short
 *
 * @example
 * decodeRow("f16", encodeRow("f16", [0.1, 2]), 2); // Float32Array [0.0999755859375, 2]
 */
export function encodeRow(
  dtype: DType,
  values: ArrayLike<number>,
  out: Uint8Array = new Uint8Array(rowBytes(dtype, values.length)),
): Uint8Array {
  needLength("the output", out.length, rowBytes(dtype, values.length));
  const floats = values instanceof Float32Array ? values : new Float32Array(values);
  if (dtype === "f32") encodeF32(floats, out);
  else if (dtype === "f16") encodeHalves(floats, out, encodeF16);
  else if (dtype === "bf16") encodeHalves(floats, out, encodeBF16);
  else {
    const { blockBytes } = DTYPES[dtype];
    const codec = BLOCK_CODECS[dtype];
    for (let from = 0, at = 0; from < floats.length; from += BLOCK, at += blockBytes)
      codec.encode(floats, from, out, at);
  }
  return out;
}

// Bytes are little-endian on every machine, as in llama.cpp's files.
const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

function decodeF32(bytes: Uint8Array, channels: number, out: Float32Array): void {
  const view = viewOf(bytes);
  for (let i = 0; i < channels; i++) out[i] = view.getFloat32(4 * i, true);
}

function encodeF32(values: Float32Array, out: Uint8Array): void {
  const view = viewOf(out);
  for (let i = 0; i < values.length; i++) view.setFloat32(4 * i, values[i]!, true);
}

function decodeHalves(bytes: Uint8Array, channels: number, out: Float32Array): void {
  const table = f16Table();
  for (let i = 0; i < channels; i++) out[i] = table[bytes[2 * i]! | (bytes[2 * i + 1]! << 8)]!;
}

function decodeBrainHalves(bytes: Uint8Array, channels: number, out: Float32Array): void {
  for (let i = 0; i < channels; i++) out[i] = decodeBF16(bytes[2 * i]! | (bytes[2 * i + 1]! << 8));
}

function encodeHalves(values: Float32Array, out: Uint8Array, encode: (value: number) => number): void {
  for (let i = 0; i < values.length; i++) {
    const bits = encode(values[i]!);
    out[2 * i] = bits;
    out[2 * i + 1] = bits >>> 8;
  }
}
