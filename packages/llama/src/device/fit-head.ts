/** A fit of one head: its cells are read back, folded and solved by the native executor, and only the values return. */
import {
  type CacheShape,
  type CompositePlan,
  type FitOutcome,
  type FitRequest,
  KvfoldError,
  type MergePlan,
  memberOf,
  mostKvHeads,
  type QueryLayer,
  type QuerySample,
  type SharedPlan,
  type Weights,
  weightBase,
} from "@kvfold/core";
import { memoryFromTarget, releaseMemory } from "@kvfold/native";
import type { HostTools } from "../cells/host.js";
import { type DeviceAddon, KEYS, VALUES } from "../native/device-addon.js";
import { WHO } from "../native/errors.js";
import { type DeviceTarget, sliceBytes } from "./memory.js";

export interface FitWork {
  readonly addon: DeviceAddon;
  readonly host: HostTools;
  readonly target: DeviceTarget;
  readonly plan: MergePlan;
  readonly fit: FitRequest;
  readonly sample: QuerySample;
  /** As in `NativePrepareOptions`. */
  readonly outputs: readonly (Float32Array | null)[] | null;
  readonly signal: AbortSignal | undefined;
}

export interface HeadFit {
  readonly outcome: FitOutcome;
  /** Raw bytes of all rows [rows, slice bytes], or null when the fit was dropped. */
  readonly rows: Uint8Array | null;
}

/** What a fit says of the rows of a head: 0 where they stay, else their ridge factor. [rows] */
export function freeOfHead({ plan, fit, target }: FitWork, layer: number, head: number): Uint8Array {
  const from = (layer * mostKvHeads(target.shape) + head) * plan.rows;
  return fit.free.subarray(from, from + plan.rows);
}

/**
 * The same arithmetic as on a cache that the processor reaches: a head of a fit reads and writes nothing of another.
 * Costs one read-back of the head's keys and values, and host memory for them.
 */
export async function fitHead(work: FitWork, layer: number, head: number): Promise<HeadFit> {
  const { target, plan } = work;
  const free = freeOfHead(work, layer, head);
  if (free.every((factor) => factor === 0)) {
    const outcome = { layer, head, before: Number.NaN, after: Number.NaN, accepted: false };
    return { outcome, rows: null };
  }
  const { host, values } = await headOnHost(work, layer, head);
  try {
    const transaction = await work.host.executor.prepare(host, headPlan(work, layer, head, free), {
      destinations: Uint32Array.from({ length: plan.rows }, (_, row) => row),
      queries: headSample(work, layer, head),
      ...{ outputs: headOutputs(work, layer, head) },
      ...(work.signal === undefined ? {} : { signal: work.signal }),
    });
    try {
      const [outcome] = transaction.fits ?? [];
      if (outcome === undefined)
        throw new KvfoldError("KVFOLD_INTERNAL", "a fit was not reported", { who: WHO });
      if (outcome.accepted) await transaction.commit();
      const rows = values.subarray(0, plan.rows * sliceBytes(target.memory.layers[layer]!, VALUES));
      return { outcome: { ...outcome, layer, head }, rows: outcome.accepted ? rows : null };
    } finally {
      transaction.dispose();
    }
  } finally {
    releaseMemory(host.memory);
  }
}

/** A cache of one layer with one head, cells packed. */
async function headOnHost({ addon, target }: FitWork, layer: number, head: number) {
  const { memory, positions, bias = null } = target;
  const { cells } = target.shape;
  const own = memory.layers[layer]!;
  const group = own.queryHeads / own.kvHeads;
  const slots = Int32Array.from(target.slots);
  const keys = await addon.readSlices(memory.tensors, layer, KEYS, head, 1, slots);
  const values = await addon.readSlices(memory.tensors, layer, VALUES, head, 1, slots);
  const shape: CacheShape = {
    cells,
    layers: [{ ...own, kvHeads: 1, queryHeads: group, valueLayout: "rows" }],
  };
  const sources = target.sources[layer]?.slice(head * cells, (head + 1) * cells) ?? null;
  const packed = Uint32Array.from({ length: cells }, (_, cell) => cell);
  const host = memoryFromTarget({
    ...{ shape, capacity: cells, slots: packed, positions, sources: [sources], bias },
    ...{ keys: [keys], values: [values] },
  });
  return { host, values };
}

/** The part of a plan that one head of one layer follows. */
function headPlan({ plan, fit, target }: FitWork, layer: number, head: number, free: Uint8Array): MergePlan {
  const common = { pins: null, values: null, fit: { ...fit, free: free.slice() } } as const;
  if (plan.layout === "composite") {
    const members = Uint32Array.from({ length: plan.rows }, (_, row) => memberOf(plan, layer, head, row));
    return { ...plan, ...common, layers: 1, kvHeads: 1, members } satisfies CompositePlan;
  }
  const { length } = plan.members;
  const own = (weights: Weights): Weights => {
    const from = weightBase(weights, length, mostKvHeads(target.shape), layer, head);
    return { scope: "all", data: weights.data.slice(from, from + length) };
  };
  const weights = { keyWeights: own(plan.keyWeights), valueWeights: own(plan.valueWeights) };
  return { ...plan, ...common, ...weights } satisfies SharedPlan;
}

/** The queries of the head's group. */
function headSample({ sample, target }: FitWork, layer: number, head: number): QuerySample {
  const queries = sample.layers[layer] ?? null;
  if (queries === null) return { ...sample, layers: [null] };
  const { kvHeads, keyDim } = target.memory.layers[layer]!;
  const group = queries.heads / kvHeads;
  const rows = new Uint16Array(sample.positions.length * group * keyDim);
  for (let index = 0; index < sample.positions.length; index++) {
    const from = (index * queries.heads + head * group) * keyDim;
    rows.set(queries.rows.subarray(from, from + group * keyDim), index * group * keyDim);
  }
  const own: QueryLayer = { ...queries, heads: group, rows };
  return { ...sample, layers: [own] };
}

function headOutputs(
  { outputs, target }: FitWork,
  layer: number,
  head: number,
): readonly (Float32Array | null)[] | null {
  const all = outputs?.[layer] ?? null;
  if (all === null) return null;
  const size = all.length / target.memory.layers[layer]!.kvHeads;
  return [all.slice(head * size, (head + 1) * size)];
}
