/** Reads rows of raw cache memory as numbers and as bytes, as they are stored. */
import { decodeRow, type LayerShape, type MemoryTarget } from "@kvfold/core";

/** Keys or values. */
export type Side = "keys" | "values";

const channelsOf = (layer: LayerShape, side: Side): number =>
  layer.kvHeads * (side === "keys" ? layer.keyDim : layer.valueDim);

/**
 * The bytes of one physical cell, gathered when values are transposed.
 * @param layer index into `target.shape.layers`
 */
export function rowBytesOf(target: MemoryTarget, layer: number, side: Side, slot: number): Uint8Array {
  const shape = target.shape.layers[layer]!;
  const buffer = target[side][layer]!;
  if (side === "keys" || shape.valueLayout === "rows") {
    const size = buffer.byteLength / target.capacity;
    return buffer.slice(slot * size, (slot + 1) * size);
  }
  const channels = channelsOf(shape, side);
  const size = buffer.byteLength / target.capacity / channels;
  const row = new Uint8Array(channels * size);
  for (let j = 0; j < channels; j++) {
    const at = (j * target.capacity + slot) * size;
    row.set(buffer.subarray(at, at + size), j * size);
  }
  return row;
}

/**
 * Rows of physical cells as numbers, in the stored basis: rotated, and turned by Hadamard where the cache is.
 * @param layer index into `target.shape.layers`
 * @returns [slots, kvHeads * dim]
 */
export function readRows(
  target: MemoryTarget,
  layer: number,
  side: Side,
  slots: ArrayLike<number>,
): Float32Array {
  const shape = target.shape.layers[layer]!;
  const channels = channelsOf(shape, side);
  const dtype = side === "keys" ? shape.keyType : shape.valueType;
  const out = new Float32Array(slots.length * channels);
  for (let i = 0; i < slots.length; i++) {
    decodeRow(dtype, rowBytesOf(target, layer, side, slots[i]!), channels, out.subarray(i * channels));
  }
  return out;
}

/** The first physical cell whose bytes differ between two states of one memory, as "keys 0 cell 12", or null. */
export function firstDifference(
  before: MemoryTarget,
  after: MemoryTarget,
  except: ReadonlySet<number> = new Set(),
): string | null {
  for (let layer = 0; layer < before.shape.layers.length; layer++) {
    for (const side of ["keys", "values"] as const) {
      for (let slot = 0; slot < before.capacity; slot++) {
        if (except.has(slot)) continue;
        const was = rowBytesOf(before, layer, side, slot);
        const is = rowBytesOf(after, layer, side, slot);
        if (was.some((byte, i) => byte !== is[i])) return `${side} ${layer} cell ${slot}`;
      }
    }
  }
  return null;
}
