/** Value slices that the host computes for a fold on a device: given ones encoded, fits solved head by head. */
import {
  decodeRow,
  encodeRow,
  type FitOutcome,
  hadamardTransform,
  KvfoldError,
  type MergePlan,
  mostKvHeads,
  throwIfAborted,
  valueReader,
} from "@kvfold/core";
import { VALUES } from "../native/device-addon.js";
import { WHO } from "../native/errors.js";
import { type FitWork, fitHead, freeOfHead } from "./fit-head.js";
import { type DeviceTarget, sliceBytes } from "./memory.js";
import { noOwnSlices, type OwnSlices } from "./slices.js";

/** Slices by layer, head and row. */
function createOwnSlices(kvHeads: number): OwnSlices & {
  readonly put: (layer: number, head: number, row: number, bytes: Uint8Array) => void;
} {
  const heads = new Map<number, Map<number, Uint8Array>>();
  const layers = new Set<number>();
  return {
    at: (layer, head, row) => heads.get(layer * kvHeads + head)?.get(row) ?? null,
    inLayer: (layer) => layers.has(layer),
    put(layer, head, row, bytes) {
      const key = layer * kvHeads + head;
      const rows = heads.get(key) ?? new Map<number, Uint8Array>();
      heads.set(key, rows.set(row, bytes));
      layers.add(layer);
    },
  };
}

/**
 * The values that a plan gives, in the type and basis of the cache.
 * @throws KvfoldError KVFOLD_PLAN_FIT for a value that the cache cannot hold, KVFOLD_PLAN_SHAPE, KVFOLD_ABORTED
 */
export function givenSlices(
  target: DeviceTarget,
  plan: MergePlan,
  signal: AbortSignal | undefined,
): OwnSlices {
  if (plan.values === null) return noOwnSlices;
  const { layers } = target.memory;
  const slices = createOwnSlices(mostKvHeads({ layers }));
  const read = valueReader(plan.values, plan.rows, layers);
  for (const [layer, { kvHeads, valueDim, valueType, hadamard }] of layers.entries()) {
    throwIfAborted(signal, WHO);
    for (let head = 0; head < kvHeads; head++) {
      for (let row = 0; row < plan.rows; row++) {
        const given = read(layer, head, row);
        if (given === null) continue;
        const stored = new Float64Array(given);
        if (hadamard.value > 0) hadamardTransform(stored, 0, valueDim, hadamard.value);
        const bytes = encodeRow(valueType, stored);
        if (!decodeRow(valueType, bytes, valueDim).every(Number.isFinite)) {
          const what = `layer ${layer} head ${head}: the cache cannot hold the value given for row ${row}`;
          throw new KvfoldError("KVFOLD_PLAN_FIT", what, { who: WHO });
        }
        slices.put(layer, head, row, bytes);
      }
    }
  }
  return slices;
}

/** The free values of a plan, solved. @throws KvfoldError KVFOLD_ABORTED and what the native executor throws */
export async function fittedSlices(
  work: FitWork,
): Promise<{ readonly slices: OwnSlices; readonly fits: readonly FitOutcome[] }> {
  const { layers } = work.target.memory;
  const slices = createOwnSlices(mostKvHeads({ layers }));
  const fits: FitOutcome[] = [];
  for (const [layer, shape] of layers.entries()) {
    const size = sliceBytes(shape, VALUES);
    for (let head = 0; head < shape.kvHeads; head++) {
      throwIfAborted(work.signal, WHO);
      const { outcome, rows } = await fitHead(work, layer, head);
      fits.push(outcome);
      if (rows === null) continue;
      // copied, so that the other rows of the head do not stay in memory
      freeOfHead(work, layer, head).forEach((free, row) => {
        if (free !== 0) slices.put(layer, head, row, rows.slice(row * size, (row + 1) * size));
      });
    }
  }
  return { slices, fits };
}
