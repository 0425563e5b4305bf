/**
 * A fold of a live sequence, all of it or nothing:
 *
 *     check -> destinations -> prepare (computes, reads only)
 *           -> write keys and values (undo log) -> give llama.cpp the new cells -> records, bias
 *
 * Whatever fails, the undo log and the old cell map are put back.
 */
import {
  type ApplyReport,
  type CacheLease,
  checkFitSample,
  checkPlan,
  type FoldTransaction,
  KvfoldError,
  type MergePlan,
  throwIfAborted,
} from "@kvfold/core";
import type { NativePrepareOptions, NativeTarget } from "@kvfold/native";
import { failure, WHO } from "../native/errors.js";
import { outputsFor } from "./attend.js";
import { type Held, heldBy } from "./lease.js";
import { querySample } from "./queries.js";
import { foldedRecords } from "./sidecar.js";
import { refreshBias, viewSlots } from "./slots.js";
import { needUsable, type SequenceState } from "./state.js";

/** @throws KvfoldError KVFOLD_VIEW_STALE, KVFOLD_CACHE_BUSY, KVFOLD_PLAN_*, KVFOLD_ABORTED and what executors throw */
export async function applyPlan(
  state: SequenceState,
  lease: CacheLease,
  plan: MergePlan,
  signal: AbortSignal | undefined,
): Promise<ApplyReport> {
  needUsable(state);
  if (state.folding) throw failure("KVFOLD_CACHE_BUSY", "a fold is in progress", "await it first");
  const held = heldBy(lease);
  if (
    held === null ||
    held.state !== state ||
    lease.generation !== state.generation ||
    state.lease !== held.token
  ) {
    throw failure(
      "KVFOLD_VIEW_STALE",
      "the lease is not of this state of the cache",
      "take a new lease and plan again",
    );
  }
  checkPlan(plan, lease);
  throwIfAborted(signal, WHO);
  state.folding = true;
  try {
    return await state.context.gate.run(() => foldNow(state, held, plan, signal));
  } finally {
    state.folding = false;
  }
}

async function foldNow(
  state: SequenceState,
  { target: leased, outputs }: Held,
  plan: MergePlan,
  signal: AbortSignal | undefined,
): Promise<ApplyReport> {
  needUsable(state);
  const { context, faults } = state;
  const { addon, handle } = context;
  const executor = faults.executor ?? context.executor();
  const supported = executor.supports(leased.shape);
  if (supported !== true) throw failure("KVFOLD_UNSUPPORTED", supported);
  const queries = plan.fit === null ? null : await querySample(state);
  checkFitSample(plan, leased.shape, queries);
  const target = { ...leased, slots: viewSlots(state) };
  const destinations = addon.lowestCells(handle, state.id, plan.rows);
  if (destinations.length < plan.rows) {
    throw failure("KVFOLD_CACHE_FULL", `only ${destinations.length} cells are free for ${plan.rows} rows`);
  }
  const known = plan.fit && queries && outputsFor(outputs, plan.fit, target, queries);
  const options: NativePrepareOptions = {
    destinations,
    queries,
    outputs: known,
    ...(signal === undefined ? {} : { signal }),
  };
  const transaction = await executor.prepare(target, plan, options);
  const { fits } = transaction;
  try {
    await commit(state, transaction, plan, target, destinations);
  } finally {
    transaction.dispose();
  }
  const freed = (plan.cells - plan.rows) * context.layout!.cellBytes;
  return { bytesFreed: freed, fits };
}

async function commit(
  state: SequenceState,
  transaction: FoldTransaction,
  plan: MergePlan,
  target: NativeTarget,
  destinations: Uint32Array,
): Promise<void> {
  const { context, faults, sidecar } = state;
  const before = sidecar.records();
  const after = foldedRecords(plan, target.shape, before);
  try {
    faults.at?.("prepared");
    await transaction.commit();
    faults.at?.("written");
    const failAt = faults.metadataReadAt ?? -1;
    await context.addon.commitCells(context.handle, state.id, plan.positions, destinations, failAt);
    faults.at?.("committed");
    sidecar.replace(after);
    refreshBias(state, destinations);
    faults.at?.("recorded");
    state.generation += 1;
  } catch (cause) {
    sidecar.replace(before);
    await undo(state, transaction, target, cause);
    throw cause;
  }
}

/** Bytes first, then the cells, then the bias: the way back in the order of the way there would meet no other state. */
async function undo(
  state: SequenceState,
  transaction: FoldTransaction,
  target: NativeTarget,
  cause: unknown,
): Promise<void> {
  try {
    await transaction.rollback();
    await restoreCells(state, target);
    refreshBias(state, target.slots);
  } catch (second) {
    state.broken = new KvfoldError("KVFOLD_INTERNAL", "a fold failed and could not be undone", {
      who: WHO,
      hint: "clear the sequence",
      cause: new AggregateError([cause, second]),
    });
    throw state.broken;
  }
}

/** Gives the sequence its old cells again, in memory order as llama.cpp wants them. */
async function restoreCells(state: SequenceState, { slots, positions }: NativeTarget): Promise<void> {
  const order = Array.from(slots.keys()).sort((a, b) => slots[a]! - slots[b]!);
  const { addon, handle } = state.context;
  await addon.commitCells(
    handle,
    state.id,
    Int32Array.from(order, (cell) => positions[cell]!),
    Uint32Array.from(order, (cell) => slots[cell]!),
    -1,
  );
}
