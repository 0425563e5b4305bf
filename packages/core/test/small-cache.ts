/** Small seeded caches for the tests of this package. */
import {
  createMemoryCache,
  createRandom,
  type LayerShape,
  type MemoryCache,
  type MemoryCacheOptions,
  ropeFrequencies,
} from "../src/index.js";

/** A layer of two KV heads with 32 channels, f32, rotated; override what a test is about. */
export function smallLayer(overrides: Partial<LayerShape> = {}): LayerShape {
  const dims = 32;
  return {
    layer: 0,
    kvHeads: 2,
    queryHeads: 4,
    keyDim: 32,
    valueDim: 32,
    keyType: "f32",
    valueType: "f32",
    valueLayout: "rows",
    rope: { pairing: "half", dims, frequencies: ropeFrequencies({ dims, base: 10000 }) },
    hadamard: { key: 0, value: 0 },
    window: null,
    ...overrides,
  };
}

/** Numbers in -1..1. */
export function randomFloats(length: number, random: () => number): Float32Array {
  return Float32Array.from({ length }, () => 2 * random() - 1);
}

export interface SmallCacheOptions extends Partial<MemoryCacheOptions> {
  readonly cells?: number;
  readonly seed?: number;
}

/** A cache of random contents: by default one small layer, 8 cells at positions 0.., capacity 16. */
export function smallCache(options: SmallCacheOptions = {}): MemoryCache {
  const { cells = options.positions?.length ?? 8, seed = 1, layers = [smallLayer()], ...rest } = options;
  const random = createRandom(seed);
  return createMemoryCache({
    layers,
    capacity: 2 * cells,
    positions: Int32Array.from({ length: cells }, (_, cell) => cell),
    keys: layers.map(({ kvHeads, keyDim }) => randomFloats(kvHeads * cells * keyDim, random)),
    values: layers.map(({ kvHeads, valueDim }) => randomFloats(kvHeads * cells * valueDim, random)),
    ...rest,
  });
}

/** Copies of all buffers, to compare with later. */
export const snapshot = (cache: MemoryCache): Uint8Array[] => {
  const { keys, values } = cache.memory();
  return [...keys, ...values].map((bytes) => bytes.slice());
};

/** The code of the error that a call throws. */
export function codeOf(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
  return "nothing thrown";
}

/** The code of the error that a promise rejects with. */
export const rejectedCode = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "nothing thrown",
    (error: { code?: string }) => error.code ?? String(error),
  );

/** The largest difference of two arrays of one length; Infinity when lengths differ or a number is missing. */
export function largestDifference(got: ArrayLike<number>, want: ArrayLike<number>): number {
  if (got.length !== want.length) return Number.POSITIVE_INFINITY;
  let largest = 0;
  for (let i = 0; i < got.length; i++) {
    const difference = Math.abs(got[i]! - want[i]!);
    if (!(difference <= largest)) largest = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference;
  }
  return largest;
}
