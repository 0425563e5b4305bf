/** Layer shapes in the words of the add-on. */
import type { CacheShape, DType, LayerShape } from "@kvfold/core";
import type { RawLayer } from "./addon.js";

/** ggml's type ids, as in native/include/kvfold/memory.h. */
const TYPE_IDS: Readonly<Record<DType, number>> = {
  f32: 0,
  f16: 1,
  q4_0: 2,
  q4_1: 3,
  q5_0: 6,
  q5_1: 7,
  q8_0: 8,
  bf16: 30,
};
/** No type of ours: the add-on refuses it with a reason. */
const UNKNOWN_TYPE = 0x7fff;
const PAIRINGS = { interleaved: 1, half: 2 } as const;

function rawLayer(layer: LayerShape): RawLayer {
  const { rope } = layer;
  return {
    kvHeads: layer.kvHeads,
    keyDim: layer.keyDim,
    valueDim: layer.valueDim,
    keyType: TYPE_IDS[layer.keyType] ?? UNKNOWN_TYPE,
    valueType: TYPE_IDS[layer.valueType] ?? UNKNOWN_TYPE,
    valueTransposed: layer.valueLayout === "transposed",
    ropePairing: rope === null ? 0 : PAIRINGS[rope.pairing],
    ropeDims: rope?.dims ?? 0,
    ropeFrequencies: rope?.frequencies ?? null,
    hadamardKey: layer.hadamard.key,
    hadamardValue: layer.hadamard.value,
  };
}

export const rawLayers = (shape: Pick<CacheShape, "layers">): RawLayer[] => shape.layers.map(rawLayer);

const sameFrequencies = (a: Float64Array | null, b: Float64Array | null): boolean =>
  a === null || b === null ? a === b : a.length === b.length && a.every((value, i) => value === b[i]);

/** The first difference between two descriptions as a sentence, or null. */
export function layerDifference(told: readonly RawLayer[], found: readonly RawLayer[]): string | null {
  if (told.length !== found.length) return `the shape has ${told.length} layers, the memory ${found.length}`;
  for (const [index, layer] of told.entries()) {
    const other = found[index]!;
    for (const name of Object.keys(layer) as (keyof RawLayer)[]) {
      if (name === "ropeFrequencies" || layer[name] === other[name]) continue;
      if (name === "ropeDims" && layer.ropePairing === 0) continue;
      return `layer ${index}: ${name} is ${layer[name]} in the shape and ${other[name]} in the memory`;
    }
    if (!sameFrequencies(layer.ropeFrequencies, other.ropeFrequencies)) {
      return `layer ${index}: shape and memory have different rope frequencies`;
    }
  }
  return null;
}
