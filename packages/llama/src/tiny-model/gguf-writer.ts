/** Writes GGUF files (version 3): metadata and f32 tensors. */

export type GgufValue =
  | string
  | { readonly u32: number }
  | { readonly f32: number }
  | { readonly i32s: readonly number[] };

export interface GgufTensor {
  readonly name: string;
  /** Innermost dimension first, as ggml counts. */
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

const ALIGNMENT = 32;
const TYPE = { u32: 4, i32: 5, f32: 6, string: 8, array: 9 } as const;

const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};
const u64 = (value: number): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
};
const f32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return bytes;
};
const text = (value: string): Buffer => Buffer.concat([u64(Buffer.byteLength(value)), Buffer.from(value)]);

function metadataValue(value: GgufValue): Buffer {
  if (typeof value === "string") return Buffer.concat([u32(TYPE.string), text(value)]);
  if ("i32s" in value) {
    const entries = value.i32s.map((entry) => u32(entry >>> 0));
    return Buffer.concat([u32(TYPE.array), u32(TYPE.i32), u64(entries.length), ...entries]);
  }
  return "u32" in value
    ? Buffer.concat([u32(TYPE.u32), u32(value.u32)])
    : Buffer.concat([u32(TYPE.f32), f32(value.f32)]);
}

const padded = (bytes: number): number => Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;

/** The bytes of a file. */
export function writeGguf(
  metadata: Readonly<Record<string, GgufValue>>,
  tensors: readonly GgufTensor[],
): Buffer {
  const entries = Object.entries(metadata);
  const parts = [Buffer.from("GGUF"), u32(3), u64(tensors.length), u64(entries.length)];
  for (const [key, value] of entries) parts.push(text(key), metadataValue(value));
  let offset = 0;
  for (const { name, shape, data } of tensors) {
    parts.push(text(name), u32(shape.length), ...shape.map(u64), u32(0), u64(offset));
    offset += padded(data.byteLength);
  }
  const header = Buffer.concat(parts);
  const file = Buffer.alloc(padded(header.length) + offset);
  header.copy(file);
  let at = padded(header.length);
  for (const { data } of tensors) {
    Buffer.from(data.buffer, data.byteOffset, data.byteLength).copy(file, at);
    at += padded(data.byteLength);
  }
  return file;
}
