/** A sample of the prompt's own queries, and how they are turned into queries that may be asked after it. */
import { createHash } from "node:crypto";
import { f16Table } from "./dtype/half.js";
import { KvfoldError } from "./errors.js";
import { rotateHead, rotationBy } from "./rope.js";
import type { LayerShape } from "./shape.js";

/** Sampled queries of one layer. */
export interface QueryLayer {
  /** Query heads; a multiple of the layer's KV heads, the group of KV head h being heads h * g .. (h + 1) * g - 1. */
  readonly heads: number;
  /** What multiplies q . k before the softmax, usually 1 / sqrt(keyDim). */
  readonly scale: number;
  /** f16 bits of the queries after RoPE, any Hadamard rotation undone. [samples, heads, keyDim] */
  readonly rows: Uint16Array;
}

/** Queries that the engine captured while the prompt was read; the same positions in all layers. */
export interface QuerySample {
  /** Position with which each query was rotated. [samples] */
  readonly positions: Int32Array;
  /** By layer of the view; null for a layer whose attention is more than softmax(scale q.k) v. */
  readonly layers: readonly (QueryLayer | null)[];
  /** Content hash (`hashQueries`): names the sample in plans. */
  readonly hash: string;
}

/** Content hash of a sample: the same queries give the same hash on every machine. */
export function hashQueries(sample: Omit<QuerySample, "hash">): string {
  const hash = createHash("sha256");
  const words = (values: Int32Array | Uint16Array): void => {
    hash.update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  };
  words(sample.positions);
  for (const layer of sample.layers) {
    hash.update(layer === null ? "-" : `${layer.heads}:${layer.scale}`);
    if (layer !== null) words(layer.rows);
  }
  return hash.digest("hex");
}

/** Where sampled queries are turned to: spread over `horizon` positions right after the context. */
export interface FutureOptions {
  /** Largest position of the cache. */
  readonly last: number;
  /** Positions over which the queries are spread; default 512. */
  readonly horizon?: number;
  /** Rows for each KV head: the first floor(maxRows / group) samples are used; default: all. */
  readonly maxRows?: number;
}

/** A prime larger than any horizon in use: consecutive samples land far apart, and each position is met equally often. */
const SPREAD = 7919;

/** The position that sample i is turned to. */
export const futurePosition = (index: number, options: FutureOptions): number =>
  options.last + 1 + ((index * SPREAD) % (options.horizon ?? 512));

/**
 * The queries of one KV head as rows, as if asked just after the context: every sample of every query head of the
 * group, its rotation moved from its own position to a future one, times the attention scale.
 *
 *     samples  s0 s1 ..., group of two heads  ->  rows  s0h0 s0h1 s1h0 s1h1 ...
 *
 * @returns [samples * group, keyDim]
 * @throws KvfoldError KVFOLD_ARGUMENT when sample and layer do not fit
 */
export function futureQueries(
  sample: QuerySample,
  layerIndex: number,
  layer: LayerShape,
  kvHead: number,
  options: FutureOptions,
): Float32Array {
  const queries = layerQueries(sample, layerIndex, layer);
  checkFuture(options);
  const group = queries.heads / layer.kvHeads;
  const samples = Math.min(
    sample.positions.length,
    Math.floor((options.maxRows ?? Number.POSITIVE_INFINITY) / group),
  );
  if (samples < 1) {
    throw new KvfoldError("KVFOLD_ARGUMENT", `no sample of ${group} query heads is left`, {
      who: "queries",
      hint: `sample queries, and allow at least ${group} rows`,
    });
  }
  const table = f16Table();
  const rows = new Float32Array(samples * group * layer.keyDim);
  let rotation = layer.rope === null ? undefined : rotationBy(layer.rope, 0);
  for (let index = 0; index < samples; index++) {
    if (layer.rope !== null) {
      rotation = rotationBy(layer.rope, futurePosition(index, options) - sample.positions[index]!, rotation);
    }
    for (let head = 0; head < group; head++) {
      const from = (index * queries.heads + kvHead * group + head) * layer.keyDim;
      const to = (index * group + head) * layer.keyDim;
      for (let i = 0; i < layer.keyDim; i++) rows[to + i] = table[queries.rows[from + i]!]! * queries.scale;
      if (layer.rope !== null) rotateHead(rows, to, layer.rope, rotation!);
    }
  }
  return rows;
}

function layerQueries(sample: QuerySample, layerIndex: number, layer: LayerShape): QueryLayer {
  const queries = sample.layers[layerIndex];
  if (
    !queries ||
    queries.heads % layer.kvHeads !== 0 ||
    queries.rows.length !== sample.positions.length * queries.heads * layer.keyDim
  ) {
    throw new KvfoldError("KVFOLD_ARGUMENT", `the query sample does not fit layer ${layer.layer}`, {
      who: "queries",
    });
  }
  return queries;
}

function checkFuture({ last, horizon = 1, maxRows = 1 }: FutureOptions): void {
  for (const [name, value] of Object.entries({ horizon, maxRows })) {
    if (Number.isSafeInteger(value) && value >= 1) continue;
    throw new KvfoldError("KVFOLD_ARGUMENT", `${name} is ${value}`, {
      who: "queries",
      hint: `give ${name} as a whole number of at least 1`,
    });
  }
  if (!Number.isSafeInteger(last)) {
    throw new KvfoldError("KVFOLD_ARGUMENT", `the last position is ${last}`, { who: "queries" });
  }
}
