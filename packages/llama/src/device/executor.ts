/**
 * The ggml executor: a plan as small graphs on the device that holds the cache, with llama.cpp's own operations. Works
 * on every backend of ggml; no kernel of ours is needed.
 */
import {
  checkFitSample,
  checkPlanAlone,
  type Executor,
  type FitOutcome,
  type FoldTransaction,
  type MergePlan,
  throwIfAborted,
} from "@kvfold/core";
import type { NativePrepareOptions } from "@kvfold/native";
import type { HostTools } from "../cells/host.js";
import type { DeviceAddon, DeviceFoldHandle } from "../native/device-addon.js";
import { failure, WHO, wrongArgument } from "../native/errors.js";
import { type DeviceTarget, supportsSlices } from "./memory.js";
import { fittedSlices, givenSlices } from "./own-slices.js";
import { chunkOf, chunkPlaces, type SliceWork } from "./slices.js";

/** A walk over the places where a commit can stop, for tests: the point `commitAt` (from 0) throws KVFOLD_FAULT. */
export interface DeviceFaults {
  commitAt: number | null;
  /** Points that the last commit passed. */
  commitPoints: number;
}

export interface DeviceExecutorOptions {
  /** Scratch memory on a device that a step of a commit aims at; a single head may need more. [64 MiB] */
  readonly scratchBytes?: number;
  /** Keep overwritten rows in host memory. [only when the device has no room] */
  readonly undoOnHost?: boolean;
  /** For tests. */
  readonly faults?: DeviceFaults;
}

export interface DeviceExecutor extends Executor<DeviceTarget> {
  prepare(target: DeviceTarget, plan: MergePlan, options: NativePrepareOptions): Promise<FoldTransaction>;
}

const SCRATCH_BYTES = 64 * 2 ** 20;

/**
 * Makes an executor.
 *
 *     prepare   checks; solves fits and encodes given values on the host; reserves the undo log
 *     commit    tensor by tensor: old rows to the undo log, new rows computed in scratch, then written
 *
 * Sums are taken on the device while a commit runs, not while it is prepared: no device has to hold all new rows twice.
 * A commit that failed has written half: roll it back.
 *
 * @param host executes the fits
 */
export function createDeviceExecutor(
  addon: DeviceAddon,
  host: () => HostTools,
  options: DeviceExecutorOptions = {},
): DeviceExecutor {
  return {
    name: "ggml",
    supports: supportsSlices,
    async prepare(target, plan, prepareOptions) {
      const { destinations, signal, queries = null, outputs = null } = prepareOptions;
      throwIfAborted(signal, WHO);
      checkCells(target);
      checkPlanAlone(plan, target.shape);
      checkFitSample(plan, target.shape, queries);
      checkDestinations(destinations, plan.rows, target.memory.capacity);
      let own = givenSlices(target, plan, signal);
      let fits: readonly FitOutcome[] | null = null;
      if (plan.fit !== null && queries !== null) {
        const work = { addon, host: host(), target, plan, fit: plan.fit, sample: queries, outputs, signal };
        ({ slices: own, fits } = await fittedSlices(work));
      }
      const fold = await addon.openFold(target.memory.tensors, plan.rows, options.undoOnHost ?? false);
      return createTransaction(addon, fold, { target, plan, destinations, own }, fits, options);
    },
  };
}

type State = "prepared" | "committing" | "committed" | "rolled back" | "disposed";

function createTransaction(
  addon: DeviceAddon,
  fold: DeviceFoldHandle,
  work: SliceWork,
  fits: readonly FitOutcome[] | null,
  { scratchBytes = SCRATCH_BYTES, faults }: DeviceExecutorOptions,
): FoldTransaction {
  let state: State = "prepared";
  let pending: SliceWork | null = work;
  const need = (allowed: readonly State[], what: string): void => {
    if (allowed.includes(state)) return;
    const code = state === "disposed" ? "KVFOLD_DISPOSED" : "KVFOLD_INTERNAL";
    throw failure(code, `cannot ${what} a fold that is ${state}`);
  };
  return {
    fits,
    async commit() {
      need(["prepared"], "commit");
      state = "committing";
      let points = 0;
      const all = pending!;
      for (const place of chunkPlaces(all, scratchBytes)) {
        const failAt = Math.max(-1, (faults?.commitAt ?? -1) - points);
        points += await addon.writeFold(fold, chunkOf(all, place), failAt);
        if (faults !== undefined) faults.commitPoints = points;
      }
      state = "committed";
      pending = null;
    },
    async rollback() {
      need(["prepared", "committing", "committed", "rolled back"], "roll back");
      await addon.rollBackFold(fold);
      state = "rolled back";
    },
    dispose() {
      state = "disposed";
      pending = null;
      addon.closeFold(fold);
    },
  };
}

/** @throws KvfoldError KVFOLD_UNSUPPORTED, KVFOLD_ARGUMENT */
function checkCells({ shape, memory, slots, positions, sources, bias = null }: DeviceTarget): void {
  const supported = supportsSlices(memory);
  if (supported !== true) throw failure("KVFOLD_UNSUPPORTED", supported);
  const { cells } = shape;
  if (shape.layers.length !== memory.layers.length)
    throw wrongArgument(`the shape has ${shape.layers.length} layers, the memory ${memory.layers.length}`);
  if (positions.length !== cells) throw wrongArgument(`${positions.length} positions for ${cells} cells`);
  if (bias !== null && (bias.length !== cells || !bias.every(Number.isFinite)))
    throw wrongArgument(`the bias is not ${cells} finite numbers`);
  if (
    slots.length !== cells ||
    new Set(slots).size !== cells ||
    slots.some((slot) => slot >= memory.capacity)
  )
    throw wrongArgument(`the slots are not ${cells} different cells of the memory`);
  for (const [layer, { kvHeads }] of memory.layers.entries()) {
    const map = sources[layer] ?? null;
    if (map !== null && map.length !== kvHeads * cells)
      throw wrongArgument(`the source map of layer ${layer} has ${map.length} entries`);
  }
}

function checkDestinations(destinations: Uint32Array, rows: number, capacity: number): void {
  const inOrder = destinations.every(
    (slot, row) => slot < capacity && (row === 0 || slot > destinations[row - 1]!),
  );
  if (destinations.length === rows && inOrder) return;
  throw wrongArgument(`the destinations are not ${rows} rising cells of the memory`);
}
