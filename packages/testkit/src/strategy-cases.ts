/** The standard caches of `testStrategy`: every type, layout and rotation, and the states that strategies forget. */
import type { FakeCacheOptions } from "./fake-cache.js";

/** A cache to plan on. */
export interface StrategyCase {
  readonly name: string;
  readonly cache: FakeCacheOptions;
  /** Ratios to plan for; those above the number of cells are left out. [1, 2, 3.5, 8] */
  readonly ratios?: readonly number[];
  /**
   * Too small for a strategy that keeps cells of its own accord (sinks, a recent window): it may answer KVFOLD_BUDGET or
   * leave the cache alone, which `fold` reports.
   */
  readonly tiny?: boolean;
}

const cells = 48;

/** All standard caches. */
export const STRATEGY_CASES: readonly StrategyCase[] = [
  { name: "a single cell", cache: { cells: 1 }, tiny: true },
  { name: "two cells", cache: { cells: 2 }, tiny: true },
  { name: "all cells equal", cache: { cells: 24, allEqual: true } },
  { name: "f32, interleaved pairs", cache: { cells } },
  {
    name: "f16, half pairs, transposed values",
    cache: { cells, keyType: "f16", rope: "half", valueLayout: "transposed" },
  },
  { name: "bf16, no rotation", cache: { cells, keyType: "bf16", rope: null } },
  {
    name: "q8_0 under Hadamard",
    cache: { cells, keyType: "q8_0", keyDim: 64, hadamard: { key: 64, value: 64 } },
  },
  { name: "q4_0", cache: { cells, keyType: "q4_0" } },
  {
    name: "layers that differ",
    cache: { cells, layers: [{ kvHeads: 3 }, { kvHeads: 1, keyDim: 64, valueDim: 32 }, { rope: null }] },
  },
  { name: "gaps and repeated positions", cache: { cells, positions: "gaps" } },
  { name: "merged before", cache: { cells, folded: true } },
  { name: "other tokens in every head", cache: { cells, folded: "composite" } },
  {
    name: "duplicates and a needle",
    cache: {
      cells,
      needles: [17],
      duplicates: [
        [5, 6],
        [20, 40],
      ],
    },
  },
];

/** The ratios of a case that leave at least one cell. */
export function ratiosOf({ ratios = [1, 2, 3.5, 8], cache }: StrategyCase): number[] {
  return ratios.filter((ratio) => ratio <= (cache.cells ?? 16));
}
