/** Cache memory that native code reaches: handed over by an engine, or typed arrays. */
import { type CacheShape, KvfoldError, type LayerShape, type MemoryTarget } from "@kvfold/core";
import type { MemoryExternal } from "./addon.js";
import { layerDifference, rawLayers } from "./layers.js";
import { loadAddon } from "./load.js";
import { toKvfoldError } from "./native-error.js";

const WHO = "native memory";

/** Memory of one stream of a cache. The bytes stay where they are; this object keeps them alive. */
export interface NativeMemory {
  /** The type-tagged pointer. */
  readonly external: MemoryExternal;
  /** Physical cells. */
  readonly capacity: number;
  readonly layers: readonly LayerShape[];
  /** The arrays behind the memory, when it was made from arrays. */
  readonly arrays: readonly Uint8Array[];
}

/** One sequence in native memory: `MemoryTarget` with a handle in place of buffers. */
export interface NativeTarget {
  readonly memory: NativeMemory;
  readonly shape: CacheShape;
  /** Physical index of every view cell, distinct. [cells] */
  readonly slots: Uint32Array;
  /** Positions of the view cells. [cells] */
  readonly positions: Int32Array;
  /** Per layer: source map [kvHeads, cells], or null. */
  readonly sources: readonly (Int32Array | null)[];
  /** Additive logit bias of the view cells, for fits; left out or null when all are zero. [cells] */
  readonly bias?: Float32Array | null;
}

const lengths = new WeakMap<NativeMemory, readonly number[]>();

const wrong = (what: string, hint?: string): KvfoldError =>
  new KvfoldError("KVFOLD_ARGUMENT", what, hint === undefined ? { who: WHO } : { who: WHO, hint });

/**
 * Memory that another add-on hands over as a tagged External (see native/include/kvfold/memory.h).
 *
 * @param external the External; what it points to must stay valid until every job on it has ended
 * @param shape what the caller believes the memory holds; compared layer by layer
 * @param capacity physical cells that the caller believes in
 * @throws KvfoldError KVFOLD_ARGUMENT when it is something else, KVFOLD_DISPOSED when the cache was freed,
 * KVFOLD_UNSUPPORTED for a type or layout that no backend knows
 */
export function nativeMemoryFromExternal(
  external: unknown,
  shape: CacheShape,
  capacity: number,
): NativeMemory {
  const addon = loadAddon();
  try {
    const found = addon.describeMemory(external);
    const difference = layerDifference(rawLayers(shape), found.layers);
    if (difference !== null) throw wrong(difference);
    if (found.capacity !== capacity) throw wrong(`the memory has ${found.capacity} cells, not ${capacity}`);
    return { external: external as MemoryExternal, capacity, layers: shape.layers, arrays: [] };
  } catch (error) {
    throw toKvfoldError(error, WHO);
  }
}

/**
 * Native access to the bytes of a `MemoryTarget`, in place: what a fold writes shows in its arrays. While a job runs
 * the arrays must not be transferred away.
 *
 * @throws KvfoldError KVFOLD_ARGUMENT when buffers are too small, overlap, or do not start at a multiple of their
 * element size; KVFOLD_UNSUPPORTED for a type or layout that no backend knows
 *
 * @example
 * const transaction = await createNativeExecutor().prepare(memoryFromTarget(target), plan, { destinations });
 */
export function memoryFromTarget(target: MemoryTarget): NativeTarget {
  const addon = loadAddon();
  const { shape, capacity, keys, values, slots, positions, sources, bias = null } = target;
  try {
    const external = addon.createMemory(rawLayers(shape), capacity, keys, values);
    const memory: NativeMemory = { external, capacity, layers: shape.layers, arrays: [...keys, ...values] };
    lengths.set(
      memory,
      memory.arrays.map((array) => array.byteLength),
    );
    return { memory, shape, slots, positions, sources, bias };
  } catch (error) {
    throw toKvfoldError(error, WHO);
  }
}

/**
 * Takes the arrays of `memoryFromTarget` back: later jobs are refused with KVFOLD_DISPOSED, running ones end
 * undisturbed. Without it the memory goes when nobody refers to it.
 * @throws KvfoldError KVFOLD_ARGUMENT for memory of an engine, which only the engine may free
 */
export function releaseMemory(memory: NativeMemory): void {
  try {
    loadAddon().releaseMemory(memory.external);
  } catch (error) {
    throw toKvfoldError(error, WHO);
  }
}

/** Refuses memory whose arrays were transferred away or resized since: their bytes are somebody else's now. */
export function checkAttached(memory: NativeMemory): void {
  const before = lengths.get(memory);
  const gone =
    before === undefined ? -1 : memory.arrays.findIndex((array, i) => array.byteLength !== before[i]);
  if (gone >= 0) {
    throw wrong(
      `array ${gone} of the memory was detached or resized`,
      "do not transfer the buffers of a cache",
    );
  }
}
