/** From what the graph showed to the layer shapes of the cache. */
import {
  cellBytes,
  type DType,
  isDType,
  type LayerShape,
  type RopeSpec,
  ropeFrequencies,
} from "@kvfold/core";
import type { RawContext, RawLayer, RawRope } from "../native/addon.js";
import { failure } from "../native/errors.js";

/** `GGML_ROPE_TYPE_NEOX` */
const HALF_PAIRS = 2;

/** The cache of a context, as far as it can be folded. */
export interface CacheLayout {
  readonly layers: readonly LayerShape[];
  /** Bytes of keys and values of one cell. */
  readonly cellBytes: number;
  /** Rotation frequencies of every layer, empty without RoPE. */
  readonly frequencies: readonly Float64Array[];
  /** Caches with the same signature can exchange snapshots. */
  readonly signature: string;
}

/**
 * @returns null when the cache cannot be folded
 * @throws KvfoldError KVFOLD_UNSUPPORTED for a type that no executor knows
 */
export function cacheLayout(raw: RawContext, modelName: string): CacheLayout | null {
  if (raw.problem !== "") return null;
  const layers = raw.layers.map((layer) => layerShape(layer, raw.valuesTransposed));
  const signature = JSON.stringify([
    modelName,
    raw.streams,
    raw.valuesTransposed,
    raw.layers.map(({ rope, ...rest }) => ({
      ...rest,
      rope: rope && { ...rope, factors: Array.from(rope.factors ?? []) },
    })),
  ]);
  return {
    layers,
    cellBytes: cellBytes({ layers }),
    frequencies: layers.map((layer) => layer.rope?.frequencies ?? new Float64Array(0)),
    signature,
  };
}

function layerShape(raw: RawLayer, transposed: boolean): LayerShape {
  return {
    layer: raw.layer,
    kvHeads: raw.kvHeads,
    queryHeads: raw.queryHeads,
    keyDim: raw.keyDim,
    valueDim: raw.valueDim,
    keyType: dtype(raw.keyType),
    valueType: dtype(raw.valueType),
    valueLayout: transposed ? "transposed" : "rows",
    rope: raw.rope === null ? null : ropeSpec(raw.rope),
    hadamard: { key: raw.hadamardKey, value: raw.hadamardValue },
    window: null,
  };
}

function dtype(name: string): DType {
  if (isDType(name)) return name;
  throw failure("KVFOLD_UNSUPPORTED", `a cache of type ${name}`, "use cacheType f32, f16 or q8_0");
}

function ropeSpec(raw: RawRope): RopeSpec {
  const yarn =
    raw.extFactor === 0
      ? null
      : {
          originalContext: raw.originalContext,
          betaFast: raw.betaFast,
          betaSlow: raw.betaSlow,
          strength: raw.extFactor,
        };
  return {
    pairing: raw.mode === HALF_PAIRS ? "half" : "interleaved",
    dims: raw.dims,
    frequencies: ropeFrequencies({
      dims: raw.dims,
      base: raw.base,
      scale: raw.scale,
      factors: raw.factors,
      yarn,
    }),
  };
}
