/** The buffers of a cache in memory: checked options in, raw rows in the types of the layers out. */
import { encodeRow, rowBytes } from "./dtype/dtypes.js";
import { KvfoldError } from "./errors.js";
import type { MemoryTarget } from "./executor.js";
import { hadamardTransform } from "./hadamard.js";
import { keyPlane, type Plane, valuePlane, writeRow } from "./reference/planes.js";
import { checkTarget, supportsShape } from "./reference/supports.js";
import type { CacheShape, LayerShape } from "./shape.js";

/** What a cache in memory is made of. */
export interface MemoryContents {
  readonly layers: readonly LayerShape[];
  /** Physical cells. */
  readonly capacity: number;
  /**
   * Keys of each layer: floats [kvHeads, cells, keyDim] as attention sees them (rotated by RoPE, no Hadamard), which are
   * stored in the layer's type; or raw bytes, `capacity` rows, which are copied.
   */
  readonly keys: readonly (Float32Array | Uint8Array)[];
  /** As `keys`: floats [kvHeads, cells, valueDim], or raw bytes in the layer's layout. */
  readonly values: readonly (Float32Array | Uint8Array)[];
  /** Non-decreasing, not negative. [cells] */
  readonly positions: Int32Array;
  /** Physical cell of each cell; default 0, 1, 2 ... [cells] */
  readonly slots?: Uint32Array;
  /** Per layer a source map [kvHeads, cells], or null; default null. */
  readonly sources?: readonly (Int32Array | null)[];
}

const wrong = (what: string, hint?: string): KvfoldError =>
  new KvfoldError("KVFOLD_ARGUMENT", what, hint === undefined ? { who: "memory" } : { who: "memory", hint });

/**
 * Buffers and maps of a new cache; nothing of the options is kept.
 * @throws KvfoldError KVFOLD_ARGUMENT, KVFOLD_UNSUPPORTED
 */
export function fillMemory(contents: MemoryContents): MemoryTarget {
  const { layers, capacity, positions } = contents;
  const shape: CacheShape = { layers, cells: positions.length };
  const supported = supportsShape(shape);
  if (supported !== true) throw new KvfoldError("KVFOLD_UNSUPPORTED", supported, { who: "memory" });
  checkLengths(contents);
  const target: MemoryTarget = {
    shape,
    capacity,
    slots: contents.slots?.slice() ?? Uint32Array.from({ length: shape.cells }, (_, cell) => cell),
    keys: layers.map((layer) => allocate(capacity, layer.kvHeads * rowBytes(layer.keyType, layer.keyDim))),
    values: layers.map((layer) =>
      allocate(capacity, layer.kvHeads * rowBytes(layer.valueType, layer.valueDim)),
    ),
    positions: positions.slice(),
    sources: layers.map((_, index) => contents.sources?.[index]?.slice() ?? null),
  };
  checkTarget(target);
  layers.forEach((layer, index) => {
    fillPlane(
      target,
      keyPlane(target, index),
      contents.keys[index]!,
      layer.hadamard.key,
      `keys of layer ${index}`,
    );
    fillPlane(
      target,
      valuePlane(target, index),
      contents.values[index]!,
      layer.hadamard.value,
      `values of layer ${index}`,
    );
  });
  return target;
}

function checkLengths({ layers, capacity, keys, values, positions, sources }: MemoryContents): void {
  if (!Number.isSafeInteger(capacity) || capacity < 1 || capacity > 2 ** 32 || positions.length > capacity) {
    throw wrong(`a capacity of ${capacity} for ${positions.length} cells`);
  }
  if (keys.length !== layers.length || values.length !== layers.length) {
    throw wrong(
      `keys of ${keys.length} and values of ${values.length} layers, the shape has ${layers.length}`,
    );
  }
  if (sources !== undefined && sources.length !== layers.length) {
    throw wrong(`source maps of ${sources.length} layers, the shape has ${layers.length}`);
  }
  positions.forEach((position, cell) => {
    if (position < 0 || (cell > 0 && position < positions[cell - 1]!)) {
      throw wrong(`cell ${cell} has position ${position}`, "cells are ordered by position, from 0");
    }
  });
}

function allocate(capacity: number, bytes: number): Uint8Array {
  try {
    return new Uint8Array(capacity * bytes);
  } catch (cause) {
    const what = `${capacity} cells of ${bytes} bytes cannot be allocated`;
    throw new KvfoldError("KVFOLD_ARGUMENT", what, { who: "memory", hint: "use a smaller capacity", cause });
  }
}

function fillPlane(
  target: MemoryTarget,
  plane: Plane,
  contents: Float32Array | Uint8Array,
  hadamard: number,
  what: string,
): void {
  const { kvHeads, channels } = plane;
  const { cells } = target.shape;
  const floats = contents instanceof Float32Array;
  const length = floats ? kvHeads * cells * channels : plane.bytes.length;
  if (contents.length !== length) {
    throw wrong(
      `the ${what} have ${contents.length} ${floats ? "floats" : "bytes"}, the shape needs ${length}`,
    );
  }
  if (!floats) {
    plane.bytes.set(contents);
    return;
  }
  const row = new Uint8Array(plane.rowBytes);
  for (let cell = 0; cell < cells; cell++) {
    for (let head = 0; head < kvHeads; head++) {
      const start = (head * cells + cell) * channels;
      const stored = new Float64Array(contents.subarray(start, start + channels));
      if (hadamard > 0) hadamardTransform(stored, 0, channels, hadamard);
      encodeRow(plane.dtype, stored, row.subarray(head * plane.headBytes, (head + 1) * plane.headBytes));
    }
    writeRow(plane, target.slots[cell]!, row);
  }
}
