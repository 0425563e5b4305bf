/** The shape of a KV cache: what every layer stores, in which type and layout, and how its keys are rotated. */

/** Storage type of cache rows. Block types hold 32 channels a block. */
export type DType = "f32" | "f16" | "bf16" | "q8_0" | "q4_0" | "q4_1" | "q5_0" | "q5_1";

/**
 * Where values lie. `rows`: cell after cell, like keys (llama.cpp with flash attention). `transposed`: channel after
 * channel, element j of cell c at `j * capacity + c` (llama.cpp without flash attention; never a block type).
 */
export type ValueLayout = "rows" | "transposed";

/** How a layer rotates its keys. The angle of pair i at position p is `p * frequencies[i]`, in radians. */
export interface RopeSpec {
  /** `interleaved`: channels (2i, 2i+1) form pair i (llama). `half`: channels (i, i + dims/2) (NeoX, Qwen, Gemma). */
  readonly pairing: "interleaved" | "half";
  /** Rotated channels at the start of each head; even, at most `keyDim`. */
  readonly dims: number;
  /** Radians per position, scaling, frequency factors and YaRN ramp included. [dims / 2] */
  readonly frequencies: Float64Array;
}

/** What one layer of the cache stores for each cell. */
export interface LayerShape {
  /** Index of the layer in the model. */
  readonly layer: number;
  readonly kvHeads: number;
  /** Query heads that share the KV heads; a multiple of `kvHeads`. */
  readonly queryHeads: number;
  /** Channels of a key head. */
  readonly keyDim: number;
  /** Channels of a value head. */
  readonly valueDim: number;
  readonly keyType: DType;
  readonly valueType: DType;
  readonly valueLayout: ValueLayout;
  /** null: keys carry no rotation. */
  readonly rope: RopeSpec | null;
  /**
   * Hadamard block sizes; 0 = none. llama.cpp multiplies quantised keys (after RoPE) and values by a normalised
   * Walsh-Hadamard matrix per block of this many channels, so whoever looks at channels must undo it first.
   */
  readonly hadamard: { readonly key: number; readonly value: number };
  /** Sliding window in tokens, or null for global attention. */
  readonly window: number | null;
}

/** The shape of a whole cache at one moment. */
export interface CacheShape {
  readonly layers: readonly LayerShape[];
  /** Cells in use. */
  readonly cells: number;
}
