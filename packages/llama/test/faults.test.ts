/** Whatever fails in a fold, the sequence is as before: state bytes, cell map, records, and the next logits. */
import { KvfoldError } from "@kvfold/core";
import { createNativeExecutor, type FaultWalk, nativeMemoryFromExternal, nativeOps } from "@kvfold/native";
import { describe, expect, it } from "vitest";
import { hostAccess } from "../src/cells/host.js";
import type { ContextOptions } from "../src/context/options.js";
import type { LlamaSequence } from "../src/index.js";
import { stateOf } from "../src/sequence/sequence.js";
import { FOLD_MOMENTS, type FoldFaults } from "../src/sequence/state.js";
import { applied, LLAMA, open, pairs, randomComposite, sameBytes, someTokens } from "./fixtures.js";

const COUNT = 48;

interface Before {
  readonly bytes: Uint8Array;
  readonly cells: { slots: Uint32Array; positions: Int32Array };
  readonly records: string;
  readonly next: Float32Array;
}

const recordsOf = (sequence: LlamaSequence): string =>
  JSON.stringify(stateOf(sequence).sidecar.records(), (_, value) =>
    ArrayBuffer.isView(value) ? [...(value as Float32Array)] : value,
  );

/** A sequence in the middle of its life: folded once with bias, then gone on. */
async function aged(cache: ContextOptions): Promise<{ sequence: LlamaSequence; before: Before }> {
  const { sequence } = await open(LLAMA, cache);
  await sequence.prefill(someTokens(COUNT, LLAMA.vocabulary));
  await applied(sequence, (view) => pairs(view));
  await sequence.prefill(someTokens(20, LLAMA.vocabulary, 8));
  const snapshot = await sequence.snapshot();
  const next = await sequence.decode(11);
  await sequence.restore(snapshot);
  const before = {
    bytes: await sequence.stateBytes(),
    cells: sequence.cellMap(),
    records: recordsOf(sequence),
    next,
  };
  return { sequence, before };
}

async function checkAsBefore(sequence: LlamaSequence, before: Before, label: string): Promise<void> {
  expect(sameBytes(await sequence.stateBytes(), before.bytes), `${label}: state bytes`).toBe(true);
  expect(sequence.cellMap(), `${label}: cell map`).toEqual(before.cells);
  expect(recordsOf(sequence), `${label}: records`).toBe(before.records);
  const snapshot = await sequence.snapshot();
  expect(sameBytes(await sequence.decode(11), before.next), `${label}: next logits`).toBe(true);
  await sequence.restore(snapshot);
}

/** Folds with a fault and wants it to fail and to leave no trace. */
async function walk(
  sequence: LlamaSequence,
  before: Before,
  faults: FoldFaults,
  label: string,
): Promise<void> {
  const state = stateOf(sequence);
  state.faults = faults;
  const failed = await applied(sequence, (view) => pairs(view)).then(
    () => null,
    (error: unknown) => error,
  );
  state.faults = {};
  expect(failed, label).toBeInstanceOf(KvfoldError);
  expect((failed as KvfoldError).code, label).toBe("KVFOLD_FAULT");
  await checkAsBefore(sequence, before, label);
}

const CACHES: readonly ContextOptions[] = [
  { cacheType: "f16", flashAttention: "off" },
  { cacheType: "q8_0", flashAttention: "on" },
];

/** Places and moments where a fold was made to fail, by cache; the promise is at least 50 of them. */
const places = new Map<ContextOptions, number>();

describe.each(CACHES)("$cacheType, flash attention $flashAttention", (cache) => {
  it("undoes a failure at every point of the executor", async () => {
    const { sequence, before } = await aged(cache);
    const faults: FaultWalk = { prepareAt: null, commitAt: null, preparePoints: 0, commitPoints: 0 };
    const state = stateOf(sequence);
    const { addon, handle, raw, layout } = state.context;
    const external = addon.memoryOf(handle, state.id, layout!.frequencies);
    const memory = nativeMemoryFromExternal(external, { layers: layout!.layers, cells: 0 }, raw.cells);
    const tools = { executor: createNativeExecutor({ threads: 1, faults }), ops: nativeOps({ threads: 1 }) };
    const executor = hostAccess(tools, memory);
    const snapshot = await sequence.snapshot();
    state.faults = { executor };
    await applied(sequence, (view) => pairs(view));
    state.faults = {};
    await sequence.restore(snapshot);
    const { preparePoints, commitPoints } = faults;
    // one for the keys and one for the values of each layer at least
    expect(commitPoints).toBeGreaterThanOrEqual(Math.max(10, 2 * LLAMA.layers));
    expect(preparePoints).toBeGreaterThan(0);
    places.set(cache, preparePoints + commitPoints);
    for (let at = 0; at < preparePoints; at++) {
      faults.prepareAt = at;
      await walk(sequence, before, { executor }, `prepare point ${at}`);
    }
    faults.prepareAt = null;
    for (let at = 0; at < commitPoints; at++) {
      faults.commitAt = at;
      await walk(sequence, before, { executor }, `commit point ${at}`);
    }
  });

  it("undoes a failure at every read of the cell metadata, and between all steps", async () => {
    const { sequence, before } = await aged(cache);
    const rows = (await dryRows(sequence)) as number;
    // streams, cells, three for each cell, layout and layers, then two or three for keys and values of each layer
    const header = 2 + 3 * rows;
    const valueReads = cache.flashAttention === "off" ? 3 : 2;
    const total = header + 2 + LLAMA.layers * (2 + valueReads);
    const points = [...Array(header).keys()].filter((at) => at < 8 || at % 9 === 0 || at > header - 4);
    for (let at = header; at < total; at++) points.push(at);
    for (const at of points)
      await walk(sequence, before, { metadataReadAt: at }, `metadata read ${at} of ${total}`);
    for (const moment of FOLD_MOMENTS) {
      const at = (now: string): void => {
        if (now === moment) throw new KvfoldError("KVFOLD_FAULT", moment);
      };
      await walk(sequence, before, { at }, `moment ${moment}`);
    }
    expect(points.length).toBeGreaterThan(25);
    expect((places.get(cache) ?? 0) + points.length + FOLD_MOMENTS.length).toBeGreaterThanOrEqual(50);
    // one read further and nothing fails: the walk has seen them all
    const state = stateOf(sequence);
    state.faults = { metadataReadAt: total };
    await applied(sequence, (view) => pairs(view));
    state.faults = {};
    expect(sequence.cells).toBe(rows);
  });
});

async function dryRows(sequence: LlamaSequence): Promise<number> {
  const lease = await sequence.lease();
  const { rows } = pairs(lease);
  lease.release();
  return rows;
}

it("leaves everything as it was when the caller aborts", async () => {
  const { sequence, before } = await aged({});
  const lease = await sequence.lease();
  const plan = pairs(lease);
  const early = AbortSignal.abort(new Error("enough"));
  await expect(sequence.apply(lease, plan, { signal: early })).rejects.toMatchObject({
    code: "KVFOLD_ABORTED",
  });
  // an abort that arrives when the executor is already at work
  const controller = new AbortController();
  const state = stateOf(sequence);
  const access = state.context.access(state.id);
  const prepare: typeof access.prepare = (...args) => {
    controller.abort();
    return access.prepare(...args);
  };
  state.faults = { executor: { ...access, prepare } };
  await expect(sequence.apply(lease, plan, { signal: controller.signal })).rejects.toMatchObject({
    code: "KVFOLD_ABORTED",
  });
  state.faults = {};
  lease.release();
  await checkAsBefore(sequence, before, "abort");
});

it("refuses a plan that does not fit, and leaves everything as it was", async () => {
  const { sequence, before } = await aged({});
  const lease = await sequence.lease();
  const good = randomComposite(lease, 20, 1);
  const wrong = {
    ...good,
    members: good.members.map((member, i) => (i === 3 ? 9999 : member)),
  } as typeof good;
  await expect(sequence.apply(lease, wrong)).rejects.toMatchObject({ code: "KVFOLD_PLAN_MEMBER_RANGE" });
  await expect(sequence.apply(lease, { ...good, cells: 3 } as typeof good)).rejects.toMatchObject({
    code: "KVFOLD_PLAN_SHAPE",
  });
  lease.release();
  await checkAsBefore(sequence, before, "bad plan");
});

it("can be cleared after a fold that could not be undone", async () => {
  const { sequence } = await aged({});
  const state = stateOf(sequence);
  const access = state.context.access(state.id);
  state.faults = {
    executor: {
      ...access,
      prepare: async (...args) => ({
        ...(await access.prepare(...args)),
        rollback: () => Promise.reject(new Error("the undo log burnt")),
      }),
    },
    metadataReadAt: 5,
  };
  await expect(applied(sequence, (view) => pairs(view))).rejects.toMatchObject({ code: "KVFOLD_INTERNAL" });
  state.faults = {};
  await expect(sequence.decode(1)).rejects.toMatchObject({ code: "KVFOLD_INTERNAL" });
  await sequence.clear();
  await sequence.prefill([1, 2, 3]);
  expect(sequence.cells).toBe(3);
});
