/** A trial fold on a device before its cache is trusted to it: drivers differ, and a wrong one shows here. */
import {
  type CacheShape,
  type CompositePlan,
  decodeRow,
  encodeRow,
  type LayerShape,
  type MemoryTarget,
  type MergePlan,
  mostKvHeads,
  PLAN_VERSION,
  type PlanBase,
  referenceExecutor,
  type SharedPlan,
} from "@kvfold/core";
import type { HostTools } from "../cells/host.js";
import { type DeviceAddon, KEYS, type TensorKind, VALUES } from "../native/device-addon.js";
import { toKvfoldError } from "../native/errors.js";
import { createDeviceExecutor } from "./executor.js";
import { createDeviceMemory, type DeviceMemory, refusedOn, sliceBytes } from "./memory.js";

const CELLS = 24;
const CAPACITY = 32;
/** Every third cell is free, so that cells move and destinations are no source. */
const SLOTS = Uint32Array.from({ length: CELLS }, (_, cell) => cell + (cell >> 2));

/** Deterministic numbers of magnitude about 1. */
const wave = (i: number): number => Math.sin(i * 12.9898) * 1.7 + Math.sin(i * 0.37);

/**
 * Folds a small cache of these layers on the device, as the cells of a context would be: rows that are copied, summed,
 * turned, and taken head by head.
 *
 * @returns true, or what went wrong as a sentence
 */
export async function trialFold(
  addon: DeviceAddon,
  host: () => HostTools,
  device: string,
  layers: readonly LayerShape[],
  threads: number,
): Promise<true | string> {
  const shape: CacheShape = { cells: CELLS, layers };
  const executor = createDeviceExecutor(addon, host);
  const supported = executor.supports(shape);
  if (supported !== true) return supported;
  const refused = refusedOn(device, shape);
  if (refused !== null) return refused;
  try {
    const memory = createDeviceMemory(addon, device, layers, CAPACITY, threads);
    for (const plan of [mergePlan("stored"), mergePlan("target"), headsApart(shape)]) {
      const problem = await tryPlan(addon, memory, plan, async (target, destinations) => {
        const transaction = await executor.prepare({ ...target, memory }, plan, { destinations });
        await transaction.commit();
        return transaction;
      });
      if (problem !== null) return `a trial fold on ${device} ${problem}`;
    }
    return true;
  } catch (error) {
    return `a trial fold on ${device} failed: ${toKvfoldError(error).message}`;
  }
}

async function tryPlan(
  addon: DeviceAddon,
  memory: DeviceMemory,
  plan: MergePlan,
  fold: (target: MemoryTarget, destinations: Uint32Array) => ReturnType<typeof referenceExecutor.prepare>,
): Promise<string | null> {
  const before = trialTarget({ cells: CELLS, layers: memory.layers });
  const wanted: MemoryTarget = { ...before, keys: before.keys.map(copy), values: before.values.map(copy) };
  const destinations = Uint32Array.from({ length: plan.rows }, (_, row) => row);
  const reference = await referenceExecutor.prepare(wanted, plan, { destinations });
  await reference.commit();
  each(memory, (layer, kind) =>
    addon.uploadTensor(memory.tensors, layer, kind, bytesOf(before, layer, kind)),
  );
  const transaction = await fold(before, destinations);
  let problem: string | null = null;
  each(memory, (layer, kind) => {
    const got = addon.downloadTensor(memory.tensors, layer, kind);
    if (!isClose(memory.layers[layer]!, kind, got, bytesOf(wanted, layer, kind)))
      problem ??= `gives wrong ${kind === KEYS ? "keys" : "values"} (${plan.layout} rows, layer ${layer})`;
  });
  await transaction.rollback();
  transaction.dispose();
  each(memory, (layer, kind) => {
    if (!same(addon.downloadTensor(memory.tensors, layer, kind), bytesOf(before, layer, kind)))
      problem ??= `cannot be taken back (layer ${layer})`;
  });
  return problem;
}

const copy = (bytes: Uint8Array): Uint8Array => bytes.slice();
const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;
const bytesOf = (target: MemoryTarget, layer: number, kind: TensorKind): Uint8Array =>
  (kind === KEYS ? target.keys : target.values)[layer]!;

function each({ layers }: DeviceMemory, visit: (layer: number, kind: TensorKind) => void): void {
  for (const layer of layers.keys()) for (const kind of [KEYS, VALUES] as const) visit(layer, kind);
}

/**
 * Within a hundredth of the largest number, which no wrong cell, head, weight or angle meets; sums may be rounded in
 * another way. The exact bounds are for tests.
 */
function isClose(layer: LayerShape, kind: TensorKind, got: Uint8Array, want: Uint8Array): boolean {
  const [dtype, dim] = kind === KEYS ? [layer.keyType, layer.keyDim] : [layer.valueType, layer.valueDim];
  const channels = (CAPACITY * layer.kvHeads * sliceBytes(layer, kind) * dim) / sliceBytes(layer, kind);
  const [a, b] = [decodeRow(dtype, got, channels), decodeRow(dtype, want, channels)];
  const largest = b.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  return a.every((value, i) => Math.abs(value - b[i]!) <= 0.01 * largest);
}

function trialTarget(shape: CacheShape): MemoryTarget {
  const plane = (layer: LayerShape, kind: TensorKind, seed: number): Uint8Array => {
    const dim = kind === KEYS ? layer.keyDim : layer.valueDim;
    const channels = CAPACITY * layer.kvHeads * dim;
    const numbers = Float32Array.from({ length: channels }, (_, i) => wave(seed + i));
    return encodeRow(kind === KEYS ? layer.keyType : layer.valueType, numbers);
  };
  return {
    shape,
    capacity: CAPACITY,
    slots: SLOTS,
    positions: Int32Array.from({ length: CELLS }, (_, cell) => 5 * cell),
    sources: shape.layers.map(() => null),
    keys: shape.layers.map((layer, index) => plane(layer, KEYS, 1000 * index)),
    values: shape.layers.map((layer, index) => plane(layer, VALUES, 1000 * index + 500)),
  };
}

const base = (rows: number, counts: (row: number) => number): PlanBase => ({
  version: PLAN_VERSION,
  cells: CELLS,
  rows,
  positions: Int32Array.from({ length: rows }, (_, row) => 3 * row),
  counts: Uint32Array.from({ length: rows }, (_, row) => counts(row)),
  dropped: CELLS - Array.from({ length: rows }, (_, row) => counts(row)).reduce((a, b) => a + b, 0),
  bias: null,
  pins: null,
  fit: null,
  values: null,
});

/** One, two and three members in turn: 12 rows of 24 cells. */
function mergePlan(keyFrame: SharedPlan["keyFrame"]): SharedPlan {
  const size = (row: number): number => 1 + (row % 3);
  const rows = 12;
  const offsets = new Uint32Array(rows + 1);
  for (let row = 0; row < rows; row++) offsets[row + 1] = offsets[row]! + size(row);
  const data = Float32Array.from({ length: CELLS }, () => 1);
  for (let row = 0; row < rows; row++) {
    if (size(row) > 1)
      for (let i = offsets[row]!; i < offsets[row + 1]!; i++) data[i] = 0.75 - 0.5 * (i - offsets[row]!);
  }
  const weights = { scope: "all", data } as const;
  return {
    ...base(rows, size),
    ...{ layout: "shared", offsets, keyFrame, keyWeights: weights, valueWeights: weights },
    members: Uint32Array.from({ length: CELLS }, (_, cell) => cell),
  };
}

/** Every head keeps other cells. */
function headsApart(shape: CacheShape): CompositePlan {
  const rows = 8;
  const kvHeads = mostKvHeads(shape);
  const entries = shape.layers.flatMap((layer, index) =>
    Array.from({ length: kvHeads }, (_, head) => (head < layer.kvHeads ? head + index : index)),
  );
  const members = entries.flatMap((shift) => Array.from({ length: rows }, (_, row) => 3 * row + (shift % 3)));
  return {
    ...base(rows, () => 1),
    ...{ layout: "composite", layers: shape.layers.length, kvHeads, members: Uint32Array.from(members) },
  };
}
