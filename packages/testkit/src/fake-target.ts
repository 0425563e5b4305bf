/** Seeded cache memory: raw buffers in any type and layout, with permuted slots, holes, guards and planted content. */
import {
  encodeRow,
  hadamardTransform,
  type LayerShape,
  type MemoryTarget,
  rotateHead,
  rotationBy,
  rowBytes,
} from "@kvfold/core";
import { type FakeShapeOptions, fakeShape } from "./fake-shape.js";
import { type Random, seededRandom } from "./random.js";

/** What is in the memory, besides its shape. */
export interface FakeTargetOptions extends FakeShapeOptions {
  /** Physical cells that belong to nobody. [half the cells, at least 1] */
  readonly holes?: number;
  /** Where cells lie: packed at the front, in order with holes, or anywhere. ["permuted"] */
  readonly slots?: "front" | "ordered" | "permuted";
  /** Positions 0, 1, 2, ... or with gaps and repeats. ["dense"] */
  readonly positions?: "dense" | "gaps";
  /** Position of the first cell. [0] */
  readonly firstPosition?: number;
  /**
   * The cache was folded before. `true`: cells were merged, so there are counts above 1, biases and a source map.
   * `composite`: every head holds other tokens, so there is a source map and no token id. [false]
   */
  readonly folded?: boolean | "composite";
  /** Pairs of cells; the second has the content of the first, at its own position. */
  readonly duplicates?: readonly (readonly [number, number])[];
  /** Cells whose keys point away from all others and whose token is a surprise. */
  readonly needles?: readonly number[];
  /** All cells have the same content. [false] */
  readonly allEqual?: boolean;
}

/** Cache memory and all that is known of its cells. */
export interface FakeTarget extends MemoryTarget {
  /** [cells] */
  readonly counts: Uint32Array;
  /** [cells] or null */
  readonly bias: Float32Array | null;
  /** [cells] */
  readonly tokens: Int32Array;
  /** [cells] */
  readonly tokenLogProbs: Float32Array;
}

/** Bytes before and after every buffer, in the same ArrayBuffer. */
const GUARD_BYTES = 64;
const GUARD = 0xc3;
/** Holes read as NaN in every type, so that a row that was made of them shows. */
const HOLE = 0xff;

function guarded(bytes: number): Uint8Array {
  const all = new Uint8Array(bytes + 2 * GUARD_BYTES).fill(GUARD);
  return all.subarray(GUARD_BYTES, GUARD_BYTES + bytes).fill(HOLE);
}

/** Buffers of the target whose guard bytes were written, as "keys 0" or "values 3". */
export function brokenGuards(target: MemoryTarget): string[] {
  const broken = (buffer: Uint8Array): boolean => {
    const all = new Uint8Array(buffer.buffer);
    const end = buffer.byteOffset + buffer.byteLength;
    return all.some((byte, i) => (i < buffer.byteOffset || i >= end) && byte !== GUARD);
  };
  return (["keys", "values"] as const).flatMap((side) =>
    target[side].flatMap((buffer, layer) => (broken(buffer) ? [`${side} ${layer}`] : [])),
  );
}

/** A copy with buffers of its own, guards included. */
export function copyTarget<T extends MemoryTarget>(target: T): T {
  const copy = (buffer: Uint8Array): Uint8Array => {
    const own = guarded(buffer.byteLength);
    own.set(buffer);
    return own;
  };
  return { ...target, keys: target.keys.map(copy), values: target.values.map(copy) };
}

/** Physical cells of the view cells. [cells] */
function placeCells(
  random: Random,
  cells: number,
  capacity: number,
  slots: FakeTargetOptions["slots"],
): Uint32Array {
  const all = Array.from({ length: capacity }, (_, slot) => slot);
  if (slots === "front") return Uint32Array.from(all.slice(0, cells));
  const chosen = random.shuffle(all).slice(0, cells);
  return Uint32Array.from(slots === "ordered" ? chosen.sort((a, b) => a - b) : chosen);
}

/** Positions, non-decreasing. [cells] */
function placePositions(random: Random, cells: number, options: FakeTargetOptions): Int32Array {
  let position = options.firstPosition ?? 0;
  return Int32Array.from({ length: cells }, (_, cell) => {
    if (cell > 0) position += options.positions === "gaps" ? random.below(4) : 1;
    return position;
  });
}

/** Content of a cell before rotation: a common direction and noise. [channels] */
function content(random: Random, base: Float64Array, needle: boolean): Float64Array {
  return base.map((value) => (needle ? -2 : 0.7) * value + 0.6 * random.normal());
}

/** Contents of all cells for one side of one layer. [cells][heads * dim] */
function contents(
  random: Random,
  cells: number,
  channels: number,
  options: FakeTargetOptions,
): Float64Array[] {
  const base = Float64Array.from({ length: channels }, () => random.normal());
  const needles = new Set(options.needles ?? []);
  const rows = Array.from({ length: cells }, (_, cell) => content(random, base, needles.has(cell)));
  for (const [first, second] of options.duplicates ?? []) rows[second]?.set(rows[first] ?? []);
  if (options.allEqual) for (const row of rows) row.set(rows[0]!);
  return rows;
}

/** Turns content into what the cache stores: RoPE at the source position, then Hadamard. Changes `row`. */
function turnKeys(layer: LayerShape, row: Float64Array, positionOf: (head: number) => number): void {
  for (let head = 0; head < layer.kvHeads; head++) {
    const at = head * layer.keyDim;
    if (layer.rope) rotateHead(row, at, layer.rope, rotationBy(layer.rope, positionOf(head)));
    if (layer.hadamard.key > 0) hadamardTransform(row, at, layer.keyDim, layer.hadamard.key);
  }
}

/** Writes one row of values, in either layout. */
function putValues(
  layer: LayerShape,
  buffer: Uint8Array,
  capacity: number,
  slot: number,
  row: Float64Array,
): void {
  const bytes = encodeRow(layer.valueType, row);
  if (layer.valueLayout === "rows") {
    buffer.set(bytes, slot * bytes.length);
    return;
  }
  const size = bytes.length / row.length;
  for (let j = 0; j < row.length; j++) {
    buffer.set(bytes.subarray(j * size, (j + 1) * size), (j * capacity + slot) * size);
  }
}

/** Source positions of every head: anything up to a little past the cell's own position. [kvHeads, cells] */
function sourceMap(random: Random, heads: number, positions: Int32Array): Int32Array {
  return Int32Array.from({ length: heads * positions.length }, (_, i) =>
    random.below(positions[i % positions.length]! + 3),
  );
}

/**
 * Cache memory for tests of executors.
 *
 * @example
 * const target = fakeTarget(7, { cells: 32, keyType: "q8_0", folded: true, needles: [5] });
 */
export function fakeTarget(seed: number, options: FakeTargetOptions = {}): FakeTarget {
  const shape = fakeShape(options);
  const { cells, layers } = shape;
  const random = seededRandom(seed);
  const { holes = Math.max(1, cells >> 1), slots: order = "permuted", folded = false } = options;
  const capacity = cells + holes;
  const slots = placeCells(random, cells, capacity, order);
  const positions = placePositions(random, cells, options);
  const merged = folded === true;
  const sources = layers.map((layer) => (folded ? sourceMap(random, layer.kvHeads, positions) : null));
  const counts = Uint32Array.from({ length: cells }, () => (merged ? 1 + random.below(6) : 1));
  const keys = layers.map((layer) =>
    guarded(capacity * rowBytes(layer.keyType, layer.kvHeads * layer.keyDim)),
  );
  const values = layers.map((layer) =>
    guarded(capacity * rowBytes(layer.valueType, layer.kvHeads * layer.valueDim)),
  );
  layers.forEach((layer, l) => {
    contents(random, cells, layer.kvHeads * layer.keyDim, options).forEach((row, cell) => {
      turnKeys(layer, row, (head) => sources[l]?.[head * cells + cell] ?? positions[cell]!);
      const bytes = encodeRow(layer.keyType, row);
      keys[l]!.set(bytes, slots[cell]! * bytes.length);
    });
    contents(random, cells, layer.kvHeads * layer.valueDim, options).forEach((row, cell) => {
      const block = layer.hadamard.value;
      if (block > 0) hadamardTransform(row, 0, row.length, block);
      putValues(layer, values[l]!, capacity, slots[cell]!, row);
    });
  });
  const needles = new Set(options.needles ?? []);
  const repeats = new Set((options.duplicates ?? []).map(([, second]) => second));
  return {
    shape,
    capacity,
    slots,
    keys,
    values,
    positions,
    sources,
    counts,
    bias: merged ? Float32Array.from(counts, Math.log) : null,
    tokens: Int32Array.from({ length: cells }, (_, cell) =>
      folded && counts[cell]! > 1 ? -1 : random.below(1000),
    ),
    tokenLogProbs: Float32Array.from({ length: cells }, (_, cell) =>
      needles.has(cell) ? -14 : repeats.has(cell) ? -0.05 : -1 - 4 * random.next(),
    ),
  };
}
