/** Rows of raw cache memory, whichever way they lie: all keys, or all values, of one layer are a plane. */
import { DTYPES, rowBytes } from "../dtype/dtypes.js";
import type { MemoryTarget } from "../executor.js";
import type { DType } from "../shape.js";

/** Keys or values of one layer. */
export interface Plane {
  readonly bytes: Uint8Array;
  readonly dtype: DType;
  readonly kvHeads: number;
  /** Channels of one head. */
  readonly channels: number;
  /** Bytes of one head of one cell. */
  readonly headBytes: number;
  /** Bytes of one cell. */
  readonly rowBytes: number;
  readonly transposed: boolean;
  /** Physical cells. */
  readonly capacity: number;
}

/** Keys of a layer. */
export function keyPlane(target: MemoryTarget, layerIndex: number): Plane {
  const layer = target.shape.layers[layerIndex]!;
  return plane(target, target.keys[layerIndex]!, layer.keyType, layer.kvHeads, layer.keyDim, false);
}

/** Values of a layer. */
export function valuePlane(target: MemoryTarget, layerIndex: number): Plane {
  const layer = target.shape.layers[layerIndex]!;
  const transposed = layer.valueLayout === "transposed";
  return plane(
    target,
    target.values[layerIndex]!,
    layer.valueType,
    layer.kvHeads,
    layer.valueDim,
    transposed,
  );
}

function plane(
  target: MemoryTarget,
  bytes: Uint8Array,
  dtype: DType,
  kvHeads: number,
  channels: number,
  transposed: boolean,
): Plane {
  const headBytes = rowBytes(dtype, channels);
  const { capacity } = target;
  return { bytes, dtype, kvHeads, channels, headBytes, rowBytes: kvHeads * headBytes, transposed, capacity };
}

/** Copies part of a row, from byte `from` (a whole element), into `out`. */
function readBytes(from: Plane, slot: number, at: number, out: Uint8Array): void {
  if (!from.transposed) {
    const start = slot * from.rowBytes + at;
    out.set(from.bytes.subarray(start, start + out.length));
    return;
  }
  const size = DTYPES[from.dtype].blockBytes;
  for (let i = 0; i < out.length; i += size) {
    const start = (((at + i) / size) * from.capacity + slot) * size;
    for (let byte = 0; byte < size; byte++) out[i + byte] = from.bytes[start + byte]!;
  }
}

/** Raw bytes of one head of a cell, as a row would hold them. [headBytes] */
export const readHead = (from: Plane, slot: number, head: number, out: Uint8Array): void =>
  readBytes(from, slot, head * from.headBytes, out);

/** Raw bytes of a cell, as a row would hold them. [rowBytes] */
export const readRow = (from: Plane, slot: number, out: Uint8Array): void => readBytes(from, slot, 0, out);

/** Writes the raw bytes of a cell. */
export function writeRow(to: Plane, slot: number, row: Uint8Array): void {
  if (!to.transposed) {
    to.bytes.set(row, slot * to.rowBytes);
    return;
  }
  const size = DTYPES[to.dtype].blockBytes;
  for (let i = 0; i < row.length; i += size) {
    const start = ((i / size) * to.capacity + slot) * size;
    for (let byte = 0; byte < size; byte++) to.bytes[start + byte] = row[i + byte]!;
  }
}
