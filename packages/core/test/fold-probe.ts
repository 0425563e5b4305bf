/** A small cache of 8 cells and strategies made on the spot, for the tests of `fold`. */
import { createMemoryCache, type MemoryCache, type MemoryCacheOptions } from "../src/memory-cache.js";
import { keepPlan } from "../src/plan/keep.js";
import type { LayerShape } from "../src/shape.js";
import { defineStrategy, type MergeStrategy, type StrategyDefinition } from "../src/strategy.js";

export const CELLS = 8;
const LAYER: LayerShape = {
  layer: 0,
  kvHeads: 2,
  queryHeads: 2,
  keyDim: 4,
  valueDim: 4,
  keyType: "f32",
  valueType: "f32",
  valueLayout: "rows",
  rope: { pairing: "half", dims: 4, frequencies: Float64Array.of(1, 0.1) },
  hadamard: { key: 0, value: 0 },
  window: null,
};

/** Element i of cell c is c + i / 10. */
export const floats = (): Float32Array =>
  Float32Array.from({ length: 2 * CELLS * 4 }, (_, i) => (Math.floor(i / 4) % CELLS) + (i % 4) / 10);
export const newCache = (options: Partial<MemoryCacheOptions> = {}): MemoryCache =>
  createMemoryCache({
    layers: [LAYER],
    capacity: CELLS,
    keys: [floats()],
    values: [floats()],
    positions: Int32Array.from({ length: CELLS }, (_, cell) => cell),
    ...options,
  });

export const strategyOf = (
  plan: MergeStrategy["plan"],
  more: Partial<Omit<StrategyDefinition<Record<never, never>>, "create">> & {
    appliesTo?: MergeStrategy["appliesTo"];
  } = {},
): MergeStrategy => {
  const { appliesTo = () => true as const, ...definition } = more;
  return defineStrategy({ name: "probe", summary: "", ...definition, create: () => ({ plan, appliesTo }) })();
};
export const firstCells: MergeStrategy = strategyOf((view, { target }) =>
  keepPlan(
    view,
    Array.from({ length: target }, (_, cell) => cell),
  ),
);

/** All that a fold may change, as text. */
export const bytes = (cache: MemoryCache): string => {
  const { keys, values, positions, slots } = cache.memory();
  return JSON.stringify([...keys, ...values, positions, slots].map((array) => [...array]));
};
