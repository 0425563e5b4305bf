/** Tiny random models whose caches are not folded (recurrent, M-RoPE, ALiBi), or whose attention is more than a softmax. */
import { createRandom } from "@kvfold/core";
import { type GgufTensor, type GgufValue, writeGguf } from "../../src/tiny-model/gguf-writer.js";

const WIDTH = 64;
const VOCABULARY = 32;

type Shapes = Readonly<Record<string, readonly number[]>>;

function file(architecture: string, metadata: Record<string, GgufValue>, shapes: Shapes): Buffer {
  const random = createRandom(5);
  const tensors: GgufTensor[] = Object.entries(shapes).map(([name, shape]) => {
    const size = shape.reduce((product, dimension) => product * dimension, 1);
    return { name, shape, data: Float32Array.from({ length: size }, () => (random() - 0.5) / 4) };
  });
  const common: Record<string, GgufValue> = {
    vocab_size: { u32: VOCABULARY },
    context_length: { u32: 512 },
    embedding_length: { u32: WIDTH },
    block_count: { u32: 1 },
    feed_forward_length: { u32: WIDTH },
    "attention.head_count": { u32: 1 },
    "attention.head_count_kv": { u32: 1 },
    "attention.layer_norm_rms_epsilon": { f32: 1e-5 },
    "attention.layer_norm_epsilon": { f32: 1e-5 },
    ...metadata,
  };
  return writeGguf(
    {
      "general.architecture": architecture,
      "tokenizer.ggml.model": "no_vocab",
      ...Object.fromEntries(Object.entries(common).map(([key, value]) => [`${architecture}.${key}`, value])),
    },
    tensors,
  );
}

const OUTER: Shapes = {
  "token_embd.weight": [WIDTH, VOCABULARY],
  "output_norm.weight": [WIDTH],
  "output.weight": [WIDTH, VOCABULARY],
};

/** A state-space model: no keys, no values. */
export function mambaFile(): Buffer {
  const [inner, state, rank] = [2 * WIDTH, 8, 4];
  const block: Shapes = {
    "blk.0.attn_norm.weight": [WIDTH],
    "blk.0.ssm_in.weight": [WIDTH, 2 * inner],
    "blk.0.ssm_conv1d.weight": [4, inner],
    "blk.0.ssm_conv1d.bias": [inner],
    "blk.0.ssm_x.weight": [inner, rank + 2 * state],
    "blk.0.ssm_dt.weight": [rank, inner],
    "blk.0.ssm_dt.bias": [inner],
    "blk.0.ssm_a": [state, inner],
    "blk.0.ssm_d": [inner],
    "blk.0.ssm_out.weight": [inner, WIDTH],
  };
  return file(
    "mamba",
    {
      "ssm.conv_kernel": { u32: 4 },
      "ssm.inner_size": { u32: inner },
      "ssm.state_size": { u32: state },
      "ssm.time_step_rank": { u32: rank },
    },
    { ...OUTER, ...block },
  );
}

/** Positions enter attention as a bias by distance. */
export function alibiFile(): Buffer {
  const block: Shapes = {
    "blk.0.attn_norm.weight": [WIDTH],
    "blk.0.attn_qkv.weight": [WIDTH, 3 * WIDTH],
    "blk.0.attn_output.weight": [WIDTH, WIDTH],
    "blk.0.ffn_norm.weight": [WIDTH],
    "blk.0.ffn_up.weight": [WIDTH, WIDTH],
    "blk.0.ffn_down.weight": [WIDTH, WIDTH],
  };
  return file("mpt", { "attention.max_alibi_bias": { f32: 8 } }, { ...OUTER, ...block });
}

/** Several positions a token. */
export function mropeFile(): Buffer {
  const square = [WIDTH, WIDTH];
  const block: Shapes = {
    "blk.0.attn_norm.weight": [WIDTH],
    "blk.0.attn_q.weight": square,
    "blk.0.attn_q.bias": [WIDTH],
    "blk.0.attn_k.weight": square,
    "blk.0.attn_k.bias": [WIDTH],
    "blk.0.attn_v.weight": square,
    "blk.0.attn_v.bias": [WIDTH],
    "blk.0.attn_output.weight": square,
    "blk.0.ffn_norm.weight": [WIDTH],
    "blk.0.ffn_gate.weight": square,
    "blk.0.ffn_up.weight": square,
    "blk.0.ffn_down.weight": square,
  };
  return file("qwen2vl", { "rope.dimension_sections": { i32s: [8, 12, 12, 0] } }, { ...OUTER, ...block });
}

/** Scores pass a soft cap before the softmax; the first layer is windowed, the second is not. */
export function softCapFile(): Buffer {
  const square = [WIDTH, WIDTH];
  const block = (layer: number): Shapes =>
    Object.fromEntries(
      Object.entries({
        attn_norm: [WIDTH],
        attn_q: square,
        attn_k: square,
        attn_v: square,
        attn_output: square,
        post_attention_norm: [WIDTH],
        ffn_norm: [WIDTH],
        ffn_gate: square,
        ffn_up: square,
        ffn_down: square,
        post_ffw_norm: [WIDTH],
      }).map(([name, shape]) => [`blk.${layer}.${name}.weight`, shape]),
    );
  const { "output.weight": _, ...outer } = OUTER;
  return file(
    "gemma2",
    {
      block_count: { u32: 2 },
      attn_logit_softcapping: { f32: 50 },
      final_logit_softcapping: { f32: 30 },
      "attention.sliding_window": { u32: 64 },
      "attention.key_length": { u32: WIDTH },
      "attention.value_length": { u32: WIDTH },
    },
    { ...outer, ...block(0), ...block(1) },
  );
}
