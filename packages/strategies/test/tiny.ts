/** Caches of a few cells named a, b, c ..., contexts with chosen scores, and plans drawn as text. */
import {
  type CacheLease,
  createMemoryCache,
  createRandom,
  hashQueries,
  type LayerShape,
  type MemoryCache,
  type MemoryCacheOptions,
  type MergePlan,
  type Ops,
  type PlanContext,
  type QuerySample,
  silentLogger,
} from "@kvfold/core";

export interface TinyOptions extends Partial<Omit<MemoryCacheOptions, "layers">> {
  readonly cells: number;
  /** KV heads of each layer; default one layer of one head. */
  readonly heads?: readonly number[];
  readonly layer?: Partial<LayerShape>;
}

const DIM = 4;

/** Value channel j of cell c is c + j / 10; keys are all ones. */
export function tinyCache({ cells, heads = [1], layer = {}, ...options }: TinyOptions): MemoryCache {
  const layers = heads.map(
    (kvHeads, index): LayerShape => ({
      layer: index,
      kvHeads,
      queryHeads: kvHeads,
      keyDim: DIM,
      valueDim: DIM,
      keyType: "f32",
      valueType: "f32",
      valueLayout: "rows",
      rope: { pairing: "half", dims: DIM, frequencies: Float64Array.of(1, 0.1) },
      hadamard: { key: 0, value: 0 },
      window: null,
      ...layer,
    }),
  );
  const value = (i: number): number => (Math.floor(i / DIM) % cells) + (i % DIM) / 10;
  return createMemoryCache({
    layers,
    capacity: cells,
    keys: heads.map((kvHeads) => new Float32Array(kvHeads * cells * DIM).fill(1)),
    values: heads.map((kvHeads) => Float32Array.from({ length: kvHeads * cells * DIM }, (_, i) => value(i))),
    positions: Int32Array.from({ length: cells }, (_, cell) => cell),
    ...options,
  });
}

/** A lease on a tiny cache. */
export const tinyView = (options: TinyOptions): Promise<CacheLease> => tinyCache(options).lease();

/** Numbers by layer, head and cell. */
export type ByHead = readonly (readonly (readonly number[])[])[];

/**
 * Operations whose statistics are given: `meanCosine` is minus the score, and so is the norm.
 * @param attention what `rms` is; the mean is half of it, the maximum twice. Default: none
 */
export function scoredOps(scores: ByHead, attention: ByHead = []): Ops {
  return {
    attend: async (_view, layer) => {
      const rms = Float32Array.from(attention[layer]!.flat());
      return { rms, mean: rms.map((weight) => weight / 2), maximum: rms.map((weight) => weight * 2) };
    },
    keyStats: async (_view, layer) => {
      const data = Float32Array.from(scores[layer]!.flat(), (score) => -score);
      return { norm: data, meanCosine: data };
    },
  };
}

/** What `fold` would hand over for a whole cache of `cells`, but for what is given. */
export function tinyContext(cells: number, given: Partial<PlanContext> = {}): PlanContext {
  const ratio = given.ratio ?? cells / (given.target ?? cells);
  return {
    target: Math.ceil(cells / ratio),
    ratio,
    range: { from: 0, to: cells },
    pins: null,
    random: createRandom(0),
    ops: scoredOps([]),
    signal: new AbortController().signal,
    log: silentLogger,
    ...given,
  };
}

/** A sample of queries for a tiny cache, all zero: for plans that look at nothing but how many there are. */
export function zeroQueries(samples: number, heads: readonly number[], group = 1): QuerySample {
  const sample = {
    positions: Int32Array.from({ length: samples }, (_, index) => index),
    layers: heads.map((kvHeads) => ({
      heads: kvHeads * group,
      scale: 0.5,
      rows: new Uint16Array(samples * kvHeads * group * DIM),
    })),
  };
  return { ...sample, hash: hashQueries(sample) };
}

/** Pins from levels: `3 0 0 1`. */
export const pinsOf = (levels: string): Uint8Array => Uint8Array.from(levels.split(" "), Number);

/** Capitals where a value is fitted; with a quote where it is held more strongly. */
function memberLetter({ members, fit }: MergePlan, index: number): string {
  const factor = fit?.free[index] ?? 0;
  const cell = letter(members[index]!);
  return factor === 0 ? cell : `${cell.toUpperCase()}${factor > 1 ? "'" : ""}`;
}

const letter = (cell: number): string => String.fromCharCode(97 + cell);

/**
 * `a@0 [bc]@1 d@3`; of a composite plan one word a head, without positions, in capitals where values are fitted, with a
 * quote where they are held more strongly.
 */
export function draw(plan: MergePlan): string {
  const rows = Array.from({ length: plan.rows }, (_, row) => row);
  if (plan.layout === "shared") {
    const group = (row: number): string =>
      Array.from(plan.members.subarray(plan.offsets[row], plan.offsets[row + 1]), letter).join("");
    const cell = (row: number): string => (group(row).length === 1 ? group(row) : `[${group(row)}]`);
    return rows.map((row) => `${cell(row)}@${plan.positions[row]}`).join(" ");
  }
  const heads = Array.from({ length: plan.layers * plan.kvHeads }, (_, head) => head);
  return heads
    .map((head) => rows.map((row) => memberLetter(plan, head * plan.rows + row)).join(""))
    .join(" ");
}
