/** Cache shapes for tests: small by default, every property open. */
import {
  type CacheShape,
  type DType,
  isBlockType,
  type LayerShape,
  type RopeSpec,
  ropeFrequencies,
  type ValueLayout,
} from "@kvfold/core";

/** One layer; what is left out has the default in brackets. */
export interface FakeLayerOptions {
  /** [2] */
  readonly kvHeads?: number;
  /** [twice the KV heads] */
  readonly queryHeads?: number;
  /** Channels of a key head. [32] */
  readonly keyDim?: number;
  /** Channels of a value head. [the key's] */
  readonly valueDim?: number;
  /** ["f32"] */
  readonly keyType?: DType;
  /** [the key's; f16 for transposed values beside a block type] */
  readonly valueType?: DType;
  /** ["rows"] */
  readonly valueLayout?: ValueLayout;
  /** Pairing of the rotation, or null for none. ["interleaved"] */
  readonly rope?: RopeSpec["pairing"] | null;
  /** Rotated channels. [keyDim] */
  readonly ropeDims?: number;
  /** Base of the rotation's frequencies. [10000] */
  readonly ropeBase?: number;
  /** Hadamard block sizes. [none] */
  readonly hadamard?: LayerShape["hadamard"];
  /** Sliding window in tokens. [null] */
  readonly window?: number | null;
}

/** A cache; the layer options are defaults for all layers. */
export interface FakeShapeOptions extends FakeLayerOptions {
  /** [16] */
  readonly cells?: number;
  /** How many layers, or what is special about each. [2] */
  readonly layers?: number | readonly FakeLayerOptions[];
}

function fakeLayer(layer: number, options: FakeLayerOptions): LayerShape {
  const { kvHeads = 2, keyDim = 32, keyType = "f32", valueLayout = "rows", rope = "interleaved" } = options;
  const { valueDim = keyDim, ropeDims = keyDim, ropeBase = 10_000 } = options;
  const { queryHeads = 2 * kvHeads, hadamard = { key: 0, value: 0 }, window = null } = options;
  const valueType =
    options.valueType ?? (valueLayout === "transposed" && isBlockType(keyType) ? "f16" : keyType);
  const spec: RopeSpec | null =
    rope === null
      ? null
      : { pairing: rope, dims: ropeDims, frequencies: ropeFrequencies({ dims: ropeDims, base: ropeBase }) };
  return {
    layer,
    kvHeads,
    queryHeads,
    keyDim,
    valueDim,
    keyType,
    valueType,
    valueLayout,
    rope: spec,
    hadamard,
    window,
  };
}

/**
 * A cache shape.
 *
 * @example
 * fakeShape({ cells: 64, keyType: "q8_0", keyDim: 64, hadamard: { key: 64, value: 64 } });
 * fakeShape({ layers: [{ kvHeads: 4 }, { kvHeads: 1, rope: null }] }); // layers that differ
 */
export function fakeShape(options: FakeShapeOptions = {}): CacheShape {
  const { cells = 16, layers = 2, ...common } = options;
  const special = typeof layers === "number" ? Array.from({ length: layers }, () => ({})) : layers;
  return { cells, layers: special.map((own, i) => fakeLayer(i, { ...common, ...own })) };
}
