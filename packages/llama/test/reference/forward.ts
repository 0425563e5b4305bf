/** A transformer in double, over rows that are handed to it: what llama.cpp should compute on a folded cache. */
import { type RopeSpec, ropeFrequencies, rotateHead, rotationBy } from "@kvfold/core";
import {
  TINY_NORM_EPSILON,
  type TinyModelSpec,
  type TinyWeights,
  tinyWeights,
} from "../../src/tiny-model/tiny-model.js";

/** The cache of one layer as attention sees it. */
export interface LayerRows {
  /** [kvHeads, cells, headDim] */
  readonly keys: ArrayLike<number>;
  /** [kvHeads, cells, headDim] */
  readonly values: ArrayLike<number>;
}

export interface CachedRows {
  readonly layers: readonly LayerRows[];
  /** [cells] */
  readonly positions: ArrayLike<number>;
  /** [cells] or null */
  readonly bias: ArrayLike<number> | null;
}

/** y = W x with W row by row. [out, in] x [in] -> [out] */
function multiply(weights: Float32Array, x: Float64Array): Float64Array {
  const width = x.length;
  return Float64Array.from({ length: weights.length / width }, (_, row) => {
    let sum = 0;
    for (let i = 0; i < width; i++) sum += weights[row * width + i]! * x[i]!;
    return sum;
  });
}

function rmsNorm(x: Float64Array, gain: Float32Array): Float64Array {
  const mean = x.reduce((sum, value) => sum + value * value, 0) / x.length;
  const scale = 1 / Math.sqrt(mean + TINY_NORM_EPSILON);
  return x.map((value, i) => value * scale * gain[i]!);
}

const plus = (a: Float64Array, b: Float64Array): Float64Array => a.map((value, i) => value + b[i]!);

export type OnQueries = (layer: number, position: number, queries: Float64Array) => void;

export interface ReferenceModel {
  /** Logits of one token at a position, attending to the rows whose position is not larger. */
  attendOver(token: number, position: number, rows: CachedRows): Float64Array;
  /**
   * Logits after each token, from nothing but the tokens.
   * @param onQueries gets the rotated queries of every token and layer [heads, headDim]
   */
  fromTokens(tokens: readonly number[], onQueries?: OnQueries): Float64Array[];
}

/** Only for llama and qwen3: no windowed layers, no scaled rotation. */
export function referenceModel(spec: TinyModelSpec): ReferenceModel {
  const weights = tinyWeights(spec);
  const rope: RopeSpec = {
    pairing: spec.architecture === "llama" ? "interleaved" : "half",
    dims: spec.headDim,
    frequencies: ropeFrequencies({ dims: spec.headDim, base: spec.ropeBase }),
  };
  const model = { spec, weights, rope };
  return {
    attendOver: (token, position, rows) =>
      run(model, token, (x, layer) => {
        const { queries } = project(model, x, layer, position);
        return attention(model, queries, position, rows.layers[layer]!, rows);
      }),
    fromTokens: (tokens, onQueries) => {
      const own = createRows(spec);
      return tokens.map((token, position) =>
        run(model, token, (x, layer) => {
          const { queries, keys, values } = project(model, x, layer, position);
          onQueries?.(layer, position, queries);
          return attention(model, queries, position, own.add(layer, position, keys, values), own.rows());
        }),
      );
    },
  };
}

interface Model {
  readonly spec: TinyModelSpec;
  readonly weights: TinyWeights;
  readonly rope: RopeSpec;
}

/** One token through all layers. `attend` gives the heads of a layer from its normed input. */
function run(
  { spec, weights }: Model,
  token: number,
  attend: (x: Float64Array, layer: number) => Float64Array,
): Float64Array {
  const weight = (name: string): Float32Array => weights.get(name)!;
  const { embedding } = spec;
  let x: Float64Array = Float64Array.from(
    weight("token_embd").subarray(token * embedding, (token + 1) * embedding),
  );
  for (let layer = 0; layer < spec.layers; layer++) {
    const of = (name: string): Float32Array => weight(`blk.${layer}.${name}`);
    x = plus(x, multiply(of("attn_output"), attend(rmsNorm(x, of("attn_norm")), layer)));
    const h = rmsNorm(x, of("ffn_norm"));
    const up = multiply(of("ffn_up"), h);
    const gated = multiply(of("ffn_gate"), h).map((value, i) => (value / (1 + Math.exp(-value))) * up[i]!);
    x = plus(x, multiply(of("ffn_down"), gated));
  }
  return multiply(weight("output"), rmsNorm(x, weight("output_norm")));
}

function project({ spec, weights, rope }: Model, x: Float64Array, layer: number, position: number) {
  const of = (name: string): Float32Array => weights.get(`blk.${layer}.${name}`)!;
  const rotation = rotationBy(rope, position);
  const heads = (name: string, norm: string): Float64Array => {
    const all = multiply(of(name), x);
    for (let from = 0; from < all.length; from += spec.headDim) {
      const gain = weights.get(`blk.${layer}.${norm}`);
      if (gain !== undefined) all.set(rmsNorm(all.slice(from, from + spec.headDim), gain), from);
      rotateHead(all, from, rope, rotation);
    }
    return all;
  };
  return {
    queries: heads("attn_q", "attn_q_norm"),
    keys: heads("attn_k", "attn_k_norm"),
    values: multiply(of("attn_v"), x),
  };
}

/** @returns [heads, headDim] */
function attention(
  { spec }: Model,
  queries: Float64Array,
  position: number,
  { keys, values }: LayerRows,
  { positions, bias }: CachedRows,
): Float64Array {
  const { heads, kvHeads, headDim } = spec;
  const cells = positions.length;
  const out = new Float64Array(heads * headDim);
  for (let head = 0; head < heads; head++) {
    const base = Math.floor(head / (heads / kvHeads)) * cells * headDim;
    const scores = Float64Array.from({ length: cells }, (_, cell) => {
      if (positions[cell]! > position) return Number.NEGATIVE_INFINITY;
      let dot = 0;
      for (let i = 0; i < headDim; i++)
        dot += queries[head * headDim + i]! * keys[base + cell * headDim + i]!;
      return dot / Math.sqrt(headDim) + (bias?.[cell] ?? 0);
    });
    const top = scores.reduce((most, score) => Math.max(most, score), Number.NEGATIVE_INFINITY);
    const shares = scores.map((score) => Math.exp(score - top));
    const total = shares.reduce((sum, share) => sum + share, 0);
    for (let cell = 0; cell < cells; cell++) {
      const share = shares[cell]! / total;
      for (let i = 0; i < headDim; i++)
        out[head * headDim + i]! += share * values[base + cell * headDim + i]!;
    }
  }
  return out;
}

/** Rows that grow token by token. */
function createRows({ layers, kvHeads, headDim }: TinyModelSpec) {
  const kept = Array.from({ length: layers }, () => ({
    keys: [] as Float64Array[],
    values: [] as Float64Array[],
  }));
  const positions: number[] = [];
  const byHead = (rows: readonly Float64Array[]): Float64Array => {
    const flat = new Float64Array(kvHeads * rows.length * headDim);
    rows.forEach((row, cell) => {
      for (let head = 0; head < kvHeads; head++) {
        flat.set(row.subarray(head * headDim, (head + 1) * headDim), (head * rows.length + cell) * headDim);
      }
    });
    return flat;
  };
  return {
    add: (layer: number, position: number, keys: Float64Array, values: Float64Array): LayerRows => {
      if (layer === 0) positions.push(position);
      const rows = kept[layer]!;
      rows.keys.push(keys);
      rows.values.push(values);
      return { keys: byHead(rows.keys), values: byHead(rows.values) };
    },
    rows: (): CachedRows => ({ layers: [], positions, bias: null }),
  };
}
