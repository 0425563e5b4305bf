/** The header of a GGUF file (version 2 and 3): metadata keys and tensor sizes. */

import type { FileHandle } from "node:fs/promises";
import { createCursor, type GgufCursor, GgufProblem } from "./reader.js";

/** Limits beyond any real model, so that hostile counts cost nothing. */
const LIMITS = { keys: 65_536, tensors: 1_048_576, keyBytes: 1024, nameBytes: 1024, dimensions: 4 } as const;

/** Bytes of the scalar value types by number; 8 is a string, 9 an array. */
const SCALAR_BYTES: Readonly<Record<number, number>> = {
  0: 1,
  1: 1,
  2: 2,
  3: 2,
  4: 4,
  5: 4,
  6: 4,
  7: 1,
  10: 8,
  11: 8,
  12: 8,
};
const STRING = 8;
const ARRAY = 9;

/** Elements and bytes of a block by ggml type number; types that are not listed are not measured. */
const BLOCKS: Readonly<Record<number, readonly [elements: number, bytes: number]>> = {
  0: [1, 4],
  1: [1, 2],
  2: [32, 18],
  3: [32, 20],
  6: [32, 22],
  7: [32, 24],
  8: [32, 34],
  10: [256, 84],
  11: [256, 110],
  12: [256, 144],
  13: [256, 176],
  14: [256, 210],
  24: [1, 1],
  25: [1, 2],
  26: [1, 4],
  27: [1, 8],
  28: [1, 8],
  30: [1, 2],
};

export interface GgufHeader {
  readonly version: number;
  readonly tensors: number;
  /** Numbers and short strings of the metadata. */
  readonly metadata: ReadonlyMap<string, number | string | boolean>;
  /** Byte up to which the tensors reach, as far as their types are known. */
  readonly needsBytes: number;
}

/**
 * Reads and measures the header.
 * @throws GgufProblem with a sentence
 */
export async function readHeader(file: FileHandle, fileBytes: number): Promise<GgufHeader> {
  const cursor = createCursor(file, fileBytes);
  const magic = (await cursor.bytes(4)).toString("latin1");
  if (magic !== "GGUF") throw new GgufProblem("it does not begin with GGUF");
  const version = await cursor.u32();
  if (version !== 2 && version !== 3) throw new GgufProblem(`GGUF version ${version}`);
  const tensors = await cursor.u64();
  const keys = await cursor.u64();
  if (tensors > LIMITS.tensors) throw new GgufProblem(`${tensors} tensors in the header`);
  if (keys > LIMITS.keys) throw new GgufProblem(`${keys} metadata keys in the header`);
  const metadata = new Map<string, number | string | boolean>();
  for (let i = 0; i < keys; i++) await readKey(cursor, metadata);
  let reach = 0;
  for (let i = 0; i < tensors; i++) reach = Math.max(reach, await readTensor(cursor));
  const alignment = alignmentOf(metadata);
  const dataStart = Math.ceil(cursor.position() / alignment) * alignment;
  return { version, tensors, metadata, needsBytes: tensors === 0 ? cursor.position() : dataStart + reach };
}

function alignmentOf(metadata: GgufHeader["metadata"]): number {
  const alignment = metadata.get("general.alignment") ?? 32;
  if (
    typeof alignment !== "number" ||
    alignment < 1 ||
    alignment > 65_536 ||
    !Number.isInteger(Math.log2(alignment))
  ) {
    throw new GgufProblem(`an alignment of ${alignment}`);
  }
  return alignment;
}

async function readString(cursor: GgufCursor, limit: number, what: string): Promise<string> {
  const length = await cursor.u64();
  if (length > limit) throw new GgufProblem(`${what} of ${length} bytes`);
  return (await cursor.bytes(length)).toString("utf8");
}

async function readKey(cursor: GgufCursor, metadata: Map<string, number | string | boolean>): Promise<void> {
  const key = await readString(cursor, LIMITS.keyBytes, "a metadata key");
  const type = await cursor.u32();
  if (metadata.has(key)) throw new GgufProblem(`the metadata key ${key} appears twice`);
  if (type === STRING) {
    const length = await cursor.u64();
    if (length > LIMITS.keyBytes) cursor.skip(length);
    else metadata.set(key, (await cursor.bytes(length)).toString("utf8"));
  } else if (type === ARRAY) await skipArray(cursor);
  else metadata.set(key, await readScalar(cursor, type));
}

async function readScalar(cursor: GgufCursor, type: number): Promise<number | boolean> {
  const size = SCALAR_BYTES[type];
  if (size === undefined) throw new GgufProblem(`metadata of the unknown type ${type}`);
  const bytes = await cursor.bytes(size);
  switch (type) {
    case 0:
      return bytes.readUInt8(0);
    case 1:
      return bytes.readInt8(0);
    case 2:
      return bytes.readUInt16LE(0);
    case 3:
      return bytes.readInt16LE(0);
    case 4:
      return bytes.readUInt32LE(0);
    case 5:
      return bytes.readInt32LE(0);
    case 6:
      return bytes.readFloatLE(0);
    case 7:
      return bytes.readUInt8(0) !== 0;
    case 10:
      return Number(bytes.readBigUInt64LE(0));
    case 11:
      return Number(bytes.readBigInt64LE(0));
    default:
      return bytes.readDoubleLE(0);
  }
}

async function skipArray(cursor: GgufCursor): Promise<void> {
  const type = await cursor.u32();
  const count = await cursor.u64();
  if (type === ARRAY) throw new GgufProblem("an array of arrays in the metadata");
  if (type !== STRING) {
    const size = SCALAR_BYTES[type];
    if (size === undefined) throw new GgufProblem(`metadata of the unknown type ${type}`);
    if (count > cursor.fileBytes) throw new GgufProblem(`an array of ${count} entries in the header`);
    cursor.skip(size * count);
    return;
  }
  // each string has at least its length before it
  if (count > cursor.fileBytes / 8) throw new GgufProblem(`an array of ${count} strings in the header`);
  for (let i = 0; i < count; i++) cursor.skip(await cursor.u64());
}

/** @returns the byte after the tensor, from the start of the data */
async function readTensor(cursor: GgufCursor): Promise<number> {
  const name = await readString(cursor, LIMITS.nameBytes, "a tensor name");
  const dimensions = await cursor.u32();
  if (dimensions > LIMITS.dimensions) throw new GgufProblem(`tensor ${name} has ${dimensions} dimensions`);
  let elements = 1;
  for (let i = 0; i < dimensions; i++) {
    elements *= await cursor.u64();
    if (!Number.isSafeInteger(elements)) throw new GgufProblem(`tensor ${name} is too large`);
  }
  const type = await cursor.u32();
  const offset = await cursor.u64();
  const block = BLOCKS[type];
  const bytes = block === undefined ? 0 : Math.ceil(elements / block[0]) * block[1];
  if (!Number.isSafeInteger(offset + bytes)) throw new GgufProblem(`tensor ${name} is too large`);
  return offset + bytes;
}
