/** Cache tensors as the ggml executor reaches them, and which shapes it can fold. */
import { type CacheShape, DTYPES, isBlockType, isDType, type LayerShape, rowBytes } from "@kvfold/core";
import type { CellsTarget } from "../cells/access.js";
import {
  type DeviceAddon,
  KEYS,
  type RawTensorLayer,
  type TensorKind,
  type TensorsHandle,
} from "../native/device-addon.js";

/** The tensors of one stream. */
export interface DeviceMemory {
  readonly tensors: TensorsHandle;
  /** Physical cells. */
  readonly capacity: number;
  readonly layers: readonly LayerShape[];
}

/** One sequence in them. */
export interface DeviceTarget extends CellsTarget {
  readonly memory: DeviceMemory;
}

/** Bytes of one head of one cell. */
export const sliceBytes = (layer: LayerShape, kind: TensorKind): number =>
  kind === KEYS ? rowBytes(layer.keyType, layer.keyDim) : rowBytes(layer.valueType, layer.valueDim);

/** true, or why the executor cannot fold such a cache. What a device can compute shows in a trial (trial.ts). */
export function supportsSlices(shape: Pick<CacheShape, "layers">): true | string {
  for (const [index, layer] of shape.layers.entries()) {
    const reason =
      refusal("key", layer.keyType, layer.keyDim) ??
      refusal("value", layer.valueType, layer.valueDim) ??
      (layer.valueLayout === "transposed" && isBlockType(layer.valueType)
        ? `transposed values cannot be stored as ${layer.valueType}`
        : null);
    if (reason !== null) return `layer ${index}: ${reason}`;
  }
  return shape.layers.length > 0 ? true : "the cache has no layers";
}

/**
 * Why a device may not fold such a cache although it could be tried, or null. Folding transposed values has ended the
 * process on Mesa's software Vulkan device (22.3.6, after several folds); until that is understood, no Vulkan device
 * is trusted with them.
 */
export function refusedOn(device: string, { layers }: Pick<CacheShape, "layers">): string | null {
  if (!device.startsWith("Vulkan")) return null;
  return layers.some(({ valueLayout }) => valueLayout === "transposed")
    ? `transposed values are not folded on ${device}: create the context with flashAttention "on"`
    : null;
}

/** Slices move as 32-bit words: no smaller unit passes every device unchanged. */
function refusal(what: string, dtype: LayerShape["keyType"], channels: number): string | null {
  if (!isDType(dtype)) return `the ${what} type ${String(dtype)} is unknown`;
  const { blockChannels } = DTYPES[dtype];
  if (channels % blockChannels !== 0)
    return `a ${what} head of ${channels} channels is not whole blocks of ${dtype}`;
  const bytes = rowBytes(dtype, channels);
  return bytes % 4 === 0
    ? null
    : `a ${what} head of ${bytes} bytes is not a whole number of 32-bit words, which is what devices move`;
}

const PAIRINGS = { interleaved: 1, half: 2 } as const;

function rawTensorLayer(layer: LayerShape): RawTensorLayer {
  const { rope } = layer;
  return {
    kvHeads: layer.kvHeads,
    keyDim: layer.keyDim,
    valueDim: layer.valueDim,
    keyType: DTYPES[layer.keyType].ggmlType,
    valueType: DTYPES[layer.valueType].ggmlType,
    valueTransposed: layer.valueLayout === "transposed",
    ropePairing: rope === null ? 0 : PAIRINGS[rope.pairing],
    ropeDims: rope?.dims ?? 0,
    ropeFrequencies: rope?.frequencies ?? new Float64Array(0),
    hadamardKey: layer.hadamard.key,
  };
}

/** Tensors of our own on a device, with nothing in them. */
export function createDeviceMemory(
  addon: DeviceAddon,
  device: string,
  layers: readonly LayerShape[],
  capacity: number,
  threads: number,
): DeviceMemory {
  const tensors = addon.createTensors(device, layers.map(rawTensorLayer), capacity, threads);
  return { tensors, capacity, layers };
}
