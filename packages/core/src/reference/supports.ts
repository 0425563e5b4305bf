/** Which shapes the reference executor can fold, and whether memory really has the size its shape says. */
import { DTYPES, isBlockType, isDType, rowBytes } from "../dtype/dtypes.js";
import { KvfoldError } from "../errors.js";
import type { MemoryTarget } from "../executor.js";
import { hadamardFits } from "../hadamard.js";
import type { CacheShape, DType, LayerShape, RopeSpec } from "../shape.js";

const isCount = (value: number): boolean => Number.isSafeInteger(value) && value >= 1;

/** true, or the reason why not as a sentence. */
export function supportsShape(shape: CacheShape): true | string {
  for (const [index, layer] of shape.layers.entries()) {
    const reason = refusal(layer);
    if (reason !== null) return `layer ${index}: ${reason}`;
  }
  return shape.layers.length > 0 ? true : "the cache has no layers";
}

function refusal(layer: LayerShape): string | null {
  if (!isCount(layer.kvHeads) || !isCount(layer.keyDim) || !isCount(layer.valueDim)) {
    return "heads and channels must be positive whole numbers";
  }
  return (
    refuseRows("key", layer.keyType, layer.keyDim, layer.hadamard.key) ??
    refuseRows("value", layer.valueType, layer.valueDim, layer.hadamard.value) ??
    (layer.valueLayout === "transposed" && isBlockType(layer.valueType)
      ? `transposed values cannot be stored as ${layer.valueType}`
      : null) ??
    refuseRope(layer.rope, layer.keyDim)
  );
}

function refuseRows(what: string, dtype: DType, channels: number, hadamard: number): string | null {
  if (!isDType(dtype)) return `the ${what} type ${String(dtype)} is unknown`;
  const { blockChannels } = DTYPES[dtype];
  if (channels % blockChannels !== 0) {
    return `a ${what} head of ${channels} channels is not a whole number of ${dtype} blocks of ${blockChannels}`;
  }
  if (hadamard !== 0 && !hadamardFits(channels, hadamard)) {
    return `a ${what} head of ${channels} channels does not split into Hadamard blocks of ${hadamard}`;
  }
  return null;
}

function refuseRope(rope: RopeSpec | null, keyDim: number): string | null {
  if (rope === null) return null;
  const { dims, frequencies } = rope;
  if (!isCount(dims) || dims % 2 !== 0 || dims > keyDim)
    return `${dims} of ${keyDim} channels cannot be rotated`;
  if (frequencies.length !== dims / 2 || !frequencies.every(Number.isFinite)) {
    return `RoPE needs ${dims / 2} finite frequencies`;
  }
  return null;
}

const wrong = (what: string): KvfoldError => new KvfoldError("KVFOLD_ARGUMENT", what, { who: "reference" });

/**
 * The buffers, slots and maps of a target agree with its shape, so that no index below can leave them.
 * @throws KvfoldError KVFOLD_UNSUPPORTED, KVFOLD_ARGUMENT
 */
export function checkTarget(target: MemoryTarget): void {
  const { shape, capacity, positions } = target;
  const supported = supportsShape(shape);
  if (supported !== true) throw new KvfoldError("KVFOLD_UNSUPPORTED", supported, { who: "reference" });
  if (!isCount(capacity)) throw wrong(`the capacity is ${capacity}`);
  if (positions.length !== shape.cells) throw wrong(`${positions.length} positions for ${shape.cells} cells`);
  const { bias = null } = target;
  if (bias !== null && (bias.length !== shape.cells || !bias.every(Number.isFinite))) {
    throw wrong(`the bias is not ${shape.cells} finite numbers`);
  }
  checkSlots("slots", target.slots, shape.cells, capacity);
  shape.layers.forEach((layer, index) => {
    const keys = capacity * layer.kvHeads * rowBytes(layer.keyType, layer.keyDim);
    const values = capacity * layer.kvHeads * rowBytes(layer.valueType, layer.valueDim);
    checkBytes(`keys of layer ${index}`, target.keys[index], keys);
    checkBytes(`values of layer ${index}`, target.values[index], values);
    const sources = target.sources[index] ?? null;
    if (sources !== null && sources.length !== layer.kvHeads * shape.cells) {
      throw wrong(`the source map of layer ${index} has ${sources.length} entries`);
    }
  });
}

function checkBytes(what: string, bytes: Uint8Array | undefined, want: number): void {
  if (!(bytes instanceof Uint8Array) || bytes.length !== want) {
    throw wrong(`the ${what} have ${bytes?.length ?? "no"} bytes, the shape needs ${want}`);
  }
}

function checkSlots(what: string, slots: Uint32Array, length: number, capacity: number): void {
  if (slots.length !== length) throw wrong(`${slots.length} ${what} for ${length} cells`);
  if (new Set(slots).size !== length) throw wrong(`${what} repeat a physical cell`);
  const outside = slots.find((slot) => slot >= capacity);
  if (outside !== undefined) throw wrong(`${what} name cell ${outside} of ${capacity}`);
}

/**
 * Destinations are physical cells, one a row, rising.
 * @throws KvfoldError KVFOLD_ARGUMENT
 */
export function checkDestinations(destinations: Uint32Array, rows: number, capacity: number): void {
  checkSlots("destinations", destinations, rows, capacity);
  const falls = destinations.findIndex((slot, row) => row > 0 && slot < destinations[row - 1]!);
  if (falls >= 0)
    throw wrong(`destination ${destinations[falls]} follows ${destinations[falls - 1]}: they must rise`);
}
