/**
 * Operations on cells in device memory: one layer is read back, and the native operations run on the copy. Costs the
 * transfer of the layer's keys, or values, or both, for each call, and host memory for them until it returns.
 */
import type { CacheShape, LayerShape } from "@kvfold/core";
import { memoryFromTarget, type NativeOps, type NativeTarget, releaseMemory } from "@kvfold/native";
import type { CellsAccess, CellsTarget } from "../cells/access.js";
import type { HostTools } from "../cells/host.js";
import { type DeviceAddon, KEYS, type TensorKind, VALUES } from "../native/device-addon.js";
import { type DeviceMemory, sliceBytes } from "./memory.js";

/** In place of rows that an operation does not look at: one channel a head. */
const NO_KEYS = { keyDim: 1, keyType: "f32", rope: null } as const;
const NO_VALUES = { valueDim: 1, valueType: "f32" } as const;

type Side = "keys" | "values";

/**
 * Raw rows of a layer, cell after cell.
 *
 * Transposed values go head by head, which bounds the copy that a device makes of them.
 * @returns [cells, kvHeads, slice bytes]
 */
async function rowsOf(
  addon: DeviceAddon,
  { tensors, layers }: DeviceMemory,
  layer: number,
  kind: TensorKind,
  slots: Int32Array,
): Promise<Uint8Array> {
  const shape = layers[layer]!;
  if (kind === KEYS || shape.valueLayout === "rows")
    return addon.readSlices(tensors, layer, kind, 0, shape.kvHeads, slots);
  const size = sliceBytes(shape, kind);
  const rows = new Uint8Array(slots.length * shape.kvHeads * size);
  for (let head = 0; head < shape.kvHeads; head++) {
    const slices = await addon.readSlices(tensors, layer, kind, head, 1, slots);
    for (let cell = 0; cell < slots.length; cell++) {
      rows.set(slices.subarray(cell * size, (cell + 1) * size), (cell * shape.kvHeads + head) * size);
    }
  }
  return rows;
}

/** One layer as a host cache of its own, for as long as `use` runs. */
async function withLayer<T>(
  addon: DeviceAddon,
  memory: DeviceMemory,
  cells: CellsTarget,
  layer: number,
  sides: readonly Side[],
  use: (host: NativeTarget) => Promise<T>,
): Promise<T> {
  const count = cells.shape.cells;
  const own: LayerShape = {
    ...memory.layers[layer]!,
    valueLayout: "rows",
    ...(sides.includes("keys") ? {} : NO_KEYS),
    ...(sides.includes("values") ? {} : NO_VALUES),
    hadamard: {
      key: sides.includes("keys") ? memory.layers[layer]!.hadamard.key : 0,
      value: sides.includes("values") ? memory.layers[layer]!.hadamard.value : 0,
    },
  };
  const slots = Int32Array.from(cells.slots);
  const side = (name: Side, kind: TensorKind): Promise<Uint8Array> | Uint8Array =>
    sides.includes(name)
      ? rowsOf(addon, memory, layer, kind, slots)
      : new Uint8Array(count * own.kvHeads * Float32Array.BYTES_PER_ELEMENT);
  const host = memoryFromTarget({
    shape: { cells: count, layers: [own] },
    capacity: count,
    slots: Uint32Array.from({ length: count }, (_, cell) => cell),
    positions: cells.positions,
    sources: [cells.sources[layer] ?? null],
    keys: [await side("keys", KEYS)],
    values: [await side("values", VALUES)],
  });
  try {
    return await use(host);
  } finally {
    releaseMemory(host.memory);
  }
}

/** Turning queries needs the shape of the layer and the last position, but no cells. */
async function turnQueries(
  ops: NativeOps,
  { layers }: DeviceMemory,
  cells: CellsTarget,
  layer: number,
  [sample, options]: [Parameters<NativeOps["turnQueries"]>[2], Parameters<NativeOps["turnQueries"]>[3]?],
): Promise<Float32Array> {
  const own: LayerShape = { ...layers[layer]!, ...NO_VALUES, valueLayout: "rows" };
  const one: CacheShape = { cells: 1, layers: [{ ...own, hadamard: { key: own.hadamard.key, value: 0 } }] };
  const host = memoryFromTarget({
    shape: one,
    capacity: 1,
    slots: Uint32Array.of(0),
    positions: Int32Array.of(cells.positions[cells.shape.cells - 1]!),
    sources: [null],
    keys: [new Uint8Array(own.kvHeads * sliceBytes(own, KEYS))],
    values: [new Uint8Array(own.kvHeads * Float32Array.BYTES_PER_ELEMENT)],
  });
  try {
    return await ops.turnQueries(host, 0, { ...sample, layers: [sample.layers[layer] ?? null] }, options);
  } finally {
    releaseMemory(host.memory);
  }
}

/** The operations of `CellsAccess`. */
export function readBackOps(
  addon: DeviceAddon,
  host: () => HostTools,
  memory: DeviceMemory,
): Omit<CellsAccess, "supports" | "prepare"> {
  const on = <T>(
    cells: CellsTarget,
    layer: number,
    sides: readonly Side[],
    use: (ops: NativeOps, target: NativeTarget) => Promise<T>,
  ): Promise<T> => withLayer(addon, memory, cells, layer, sides, (target) => use(host().ops, target));
  return {
    keys: (cells, layer, frame) => on(cells, layer, ["keys"], (ops, target) => ops.keys(target, 0, frame)),
    values: (cells, layer) => on(cells, layer, ["values"], (ops, target) => ops.values(target, 0)),
    keyStats: (cells, layer, options) =>
      on(cells, layer, ["keys"], (ops, target) => ops.keyStats(target, 0, options)),
    turnQueries: (cells, layer, ...rest) => turnQueries(host().ops, memory, cells, layer, rest),
    attend: (cells, layer, ...rest) =>
      on(cells, layer, ["keys", "values"], (ops, target) => ops.attend(target, 0, ...rest)),
  };
}
