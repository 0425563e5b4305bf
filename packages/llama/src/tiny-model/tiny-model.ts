/** Random-weight models of a few hundred kilobytes: for the self-test at start and for tests. They say nothing. */
import { createRandom } from "@kvfold/core";
import { type GgufTensor, type GgufValue, writeGguf } from "./gguf-writer.js";

/** `llama`: interleaved RoPE. `qwen3`: half pairing, norms on queries and keys. `gemma3`: windowed layers beside global ones. */
export type TinyArchitecture = "llama" | "qwen3" | "gemma3";

export interface TinyModelSpec {
  readonly architecture: TinyArchitecture;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly embedding: number;
  readonly feedForward: number;
  readonly vocabulary: number;
  readonly ropeBase: number;
  readonly seed: number;
  /** Window of the windowed layers (gemma3). */
  readonly window?: number;
  /** YaRN with this factor over this original context. */
  readonly yarn?: { readonly factor: number; readonly originalContext: number };
  /** More metadata, or other values; keys without the architecture in front. */
  readonly extra?: Readonly<Record<string, GgufValue>>;
}

export const TINY_LLAMA: TinyModelSpec = {
  architecture: "llama",
  layers: 2,
  heads: 4,
  kvHeads: 2,
  headDim: 64,
  embedding: 128,
  feedForward: 128,
  vocabulary: 96,
  ropeBase: 10_000,
  seed: 1,
};

/** Weights by tensor name. [out, in] row by row, as ggml stores matrices. */
export type TinyWeights = ReadonlyMap<string, Float32Array>;

const NORM_EPSILON = 1e-5;
export const TINY_NORM_EPSILON: number = NORM_EPSILON;

/** Normal numbers by Box and Muller. */
function gaussian(random: () => number): () => number {
  return () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

interface Tensor {
  readonly name: string;
  readonly shape: readonly number[];
  /** Standard deviation; `norm` spreads around 1. */
  readonly spread: number | "norm";
}

function layerTensors(spec: TinyModelSpec, layer: number): Tensor[] {
  const { embedding, headDim, heads, kvHeads, feedForward } = spec;
  const queries = heads * headDim;
  const keys = kvHeads * headDim;
  // queries and keys are wide enough that attention is far from uniform, values so that it matters
  const into = 1 / Math.sqrt(embedding);
  const normed = spec.architecture !== "llama";
  const after = spec.architecture === "gemma3";
  const tensors: Tensor[] = [
    { name: "attn_norm", shape: [embedding], spread: "norm" },
    { name: "attn_q", shape: [embedding, queries], spread: 1.5 * into },
    { name: "attn_k", shape: [embedding, keys], spread: 1.5 * into },
    { name: "attn_v", shape: [embedding, keys], spread: into },
    { name: "attn_output", shape: [queries, embedding], spread: 1 / Math.sqrt(queries) },
    { name: "ffn_norm", shape: [embedding], spread: "norm" },
    { name: "ffn_gate", shape: [embedding, feedForward], spread: into },
    { name: "ffn_up", shape: [embedding, feedForward], spread: into },
    { name: "ffn_down", shape: [feedForward, embedding], spread: 1 / Math.sqrt(feedForward) },
    ...(normed
      ? ["attn_q_norm", "attn_k_norm"].map((name) => ({ name, shape: [headDim], spread: "norm" as const }))
      : []),
    ...(after
      ? ["post_attention_norm", "post_ffw_norm"].map((name) => ({
          name,
          shape: [embedding],
          spread: "norm" as const,
        }))
      : []),
  ];
  return tensors.map((tensor) => ({ ...tensor, name: `blk.${layer}.${tensor.name}` }));
}

function tensorList(spec: TinyModelSpec): Tensor[] {
  const { embedding, vocabulary, layers } = spec;
  return [
    { name: "token_embd", shape: [embedding, vocabulary], spread: 1 },
    { name: "output_norm", shape: [embedding], spread: "norm" },
    { name: "output", shape: [embedding, vocabulary], spread: 1.5 / Math.sqrt(embedding) },
    ...Array.from({ length: layers }, (_, layer) => layerTensors(spec, layer)).flat(),
  ];
}

/** The weights of a spec; the same seed gives the same numbers. Names without ".weight". */
export function tinyWeights(spec: TinyModelSpec): TinyWeights {
  const random = gaussian(createRandom(spec.seed));
  return new Map(
    tensorList(spec).map(({ name, shape, spread }) => {
      const size = shape.reduce((product, dimension) => product * dimension, 1);
      const value = spread === "norm" ? () => 1 + 0.1 * random() : () => spread * random();
      return [name, Float32Array.from({ length: size }, value)];
    }),
  );
}

function tinyMetadata(spec: TinyModelSpec): Record<string, GgufValue> {
  const prefixed = (key: string): string =>
    key.includes("general.") || key.startsWith("tokenizer.") ? key : `${spec.architecture}.${key}`;
  const values: Record<string, GgufValue> = {
    vocab_size: { u32: spec.vocabulary },
    context_length: { u32: 4096 },
    embedding_length: { u32: spec.embedding },
    block_count: { u32: spec.layers },
    feed_forward_length: { u32: spec.feedForward },
    "attention.head_count": { u32: spec.heads },
    "attention.head_count_kv": { u32: spec.kvHeads },
    "attention.key_length": { u32: spec.headDim },
    "attention.value_length": { u32: spec.headDim },
    "attention.layer_norm_rms_epsilon": { f32: NORM_EPSILON },
    "rope.dimension_count": { u32: spec.headDim },
    "rope.freq_base": { f32: spec.ropeBase },
    ...(spec.window === undefined ? {} : { "attention.sliding_window": { u32: spec.window } }),
    ...(spec.yarn === undefined
      ? {}
      : {
          "rope.scaling.type": "yarn",
          "rope.scaling.factor": { f32: spec.yarn.factor },
          "rope.scaling.original_context_length": { u32: spec.yarn.originalContext },
        }),
    ...spec.extra,
  };
  return {
    "general.architecture": spec.architecture,
    "general.name": `tiny ${spec.architecture}`,
    "tokenizer.ggml.model": "no_vocab",
    ...Object.fromEntries(Object.entries(values).map(([key, value]) => [prefixed(key), value])),
  };
}

/** A whole model file. */
export function tinyModelFile(spec: TinyModelSpec): Buffer {
  const weights = tinyWeights(spec);
  const tensors: GgufTensor[] = tensorList(spec).map(({ name, shape }) => ({
    name: `${name}.weight`,
    shape,
    data: weights.get(name)!,
  }));
  return writeGguf(tinyMetadata(spec), tensors);
}
