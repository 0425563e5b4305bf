/** What the bridge exports for caches in device memory, as TypeScript sees it. */
import type { ContextHandle, Handle } from "./addon.js";

/** Keys and values of one stream, wherever they lie. */
export type TensorsHandle = Handle<"tensors">;
export type DeviceFoldHandle = Handle<"device fold">;

/** A device that llama.cpp can compute on. */
export interface DeviceInfo {
  /** For example "CPU" or "Vulkan0". */
  readonly name: string;
  readonly description: string;
  readonly kind: "processor" | "gpu" | "integrated gpu" | "accelerator";
  readonly freeBytes: number;
  readonly totalBytes: number;
}

export const KEYS = 0;
export const VALUES = 1;
export type TensorKind = typeof KEYS | typeof VALUES;

/** One layer of tensors of our own; numbers as in `kvfold_memory_layer`. */
export interface RawTensorLayer {
  readonly kvHeads: number;
  readonly keyDim: number;
  readonly valueDim: number;
  readonly keyType: number;
  readonly valueType: number;
  readonly valueTransposed: boolean;
  readonly ropePairing: number;
  readonly ropeDims: number;
  readonly ropeFrequencies: Float64Array;
  readonly hadamardKey: number;
}

/** Slices that several members make; slice i is the sum of members `offsets[i]` to `offsets[i + 1] - 1`. */
export interface RawSums {
  /** Units. [slices] */
  readonly to: Int32Array;
  /** [slices + 1] */
  readonly offsets: Uint32Array;
  /** Units. [members] */
  readonly from: Int32Array;
  /** [members] */
  readonly weights: Float32Array;
  /** Positions by which each member turns; empty: none does. [members] */
  readonly turns: Int32Array;
}

/** What some heads of one tensor become. A unit is `cell * heads + head` with physical cells; a cell with `wholeCells`. */
export interface RawChunk {
  readonly layer: number;
  readonly kind: TensorKind;
  readonly firstHead: number;
  readonly heads: number;
  readonly wholeCells: boolean;
  /** Physical cells from 0 that hold all units. */
  readonly cells: number;
  readonly copiedFrom: Int32Array;
  readonly copiedTo: Int32Array;
  readonly givenTo: Int32Array;
  /** Raw bytes. [givenTo, slice bytes] */
  readonly given: Uint8Array;
  readonly sums: RawSums;
  readonly turned: RawSums;
}

export interface DeviceAddon {
  /** For the whole process. @returns devices that it brought */
  loadDeviceLibrary(path: string): number;
  devices(): readonly DeviceInfo[];
  cacheTensors(context: ContextHandle, sequence: number, frequencies: readonly Float64Array[]): TensorsHandle;
  createTensors(
    device: string,
    layers: readonly RawTensorLayer[],
    capacity: number,
    threads: number,
  ): TensorsHandle;
  downloadTensor(tensors: TensorsHandle, layer: number, kind: TensorKind): Uint8Array;
  uploadTensor(tensors: TensorsHandle, layer: number, kind: TensorKind, bytes: Uint8Array): void;
  /** @returns raw bytes [cells, heads, slice bytes] */
  readSlices(
    tensors: TensorsHandle,
    layer: number,
    kind: TensorKind,
    firstHead: number,
    heads: number,
    cells: Int32Array,
  ): Promise<Uint8Array>;
  openFold(tensors: TensorsHandle, rows: number, undoOnHost: boolean): Promise<DeviceFoldHandle>;
  /** @returns fault points passed */
  writeFold(fold: DeviceFoldHandle, chunk: RawChunk, failAt: number): Promise<number>;
  rollBackFold(fold: DeviceFoldHandle): Promise<void>;
  /** Bytes of the undo log. */
  heldBytes(fold: DeviceFoldHandle): number;
  closeFold(fold: DeviceFoldHandle): Promise<void>;
}
