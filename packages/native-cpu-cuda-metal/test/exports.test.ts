/**
 * Every export of the add-on is either asynchronous or short, and stands here with the reason. A new export fails this
 * test until it does.
 */
import { describe, expect, it } from "vitest";
import type { FlagExternal, FoldExternal, NativeAddon } from "../src/addon.js";
import { rawLayers } from "../src/layers.js";
import { loadAddon } from "../src/load.js";
import { memoryFromTarget } from "../src/memory.js";
import { largeMemory, squeezeByFour } from "./large-memory.js";

const CELLS = 2048;
const LAYERS = 32;
const large = largeMemory({ cells: CELLS, layers: LAYERS, kvHeads: 2, dim: 32 });
const target = memoryFromTarget(large);
const addon = loadAddon();
const { external } = target.memory;
const layers = rawLayers(large.shape);
const plan = squeezeByFour(CELLS);
const job = { memory: external, backend: "cpu", threads: 1, flag: null };
const read = { ...job, layer: 0, slots: large.slots, positions: large.positions, sources: null };

function prepare(): ReturnType<NativeAddon["prepare"]> {
  const { slots, positions, sources } = large;
  return addon.prepare({
    ...{ ...job, plan, slots, positions, sources, failAt: null, memoryLimit: null, bias: null },
    ...{ queries: null, outputs: null, destinations: slots.slice(0, plan.rows) },
  });
}
const prepared = async (): Promise<FoldExternal> => (await prepare()).fold;

/** Runs on the event loop. `why`: what keeps it short whatever the caller gives. */
interface Short {
  readonly why: string;
  call(): unknown;
}

const SHORT: Partial<Record<keyof NativeAddon, Short>> = {
  info: { why: "a few words about the build", call: () => addon.info() },
  supports: { why: "at most 4096 layers, no memory", call: () => addon.supports("cpu", layers) },
  createMemory: {
    why: "at most 4096 layers; keeps the arrays, reads no byte of them",
    call: () => addon.createMemory(layers, CELLS, large.keys, large.values),
  },
  describeMemory: { why: "at most 4096 layers, no memory", call: () => addon.describeMemory(external) },
  releaseMemory: {
    why: "clears a word",
    call: () => addon.releaseMemory(addon.createMemory(layers, CELLS, large.keys, large.values)),
  },
  createFlag: { why: "allocates a word", call: () => addon.createFlag() },
  raiseFlag: { why: "sets a word", call: () => addon.raiseFlag(addon.createFlag() as FlagExternal) },
  benchOperations: { why: "a few words", call: () => addon.benchOperations() },
};

/** Runs on another thread. */
const ASYNC: Partial<Record<keyof NativeAddon, () => unknown>> = {
  prepare,
  prepareShift: async () => {
    const { slots } = large;
    const deltas = new Int32Array(CELLS).fill(-1);
    const layerDeltas = large.shape.layers.map(() => null);
    const shift = { ...job, slots, deltas, layerDeltas, failAt: null };
    await addon.dispose((await addon.prepareShift(shift)).fold);
  },
  commit: async () => addon.commit(await prepared(), 1, null),
  rollback: async () => addon.rollback(await prepared(), 1),
  dispose: async () => addon.dispose(await prepared()),
  readRows: () => addon.readRows({ ...read, kind: "keys", unrotate: true, undoHadamard: false }),
  keyStats: () => addon.keyStats(read),
  turnQueries: () =>
    addon.turnQueries({
      ...{ ...job, layer: 0, last: CELLS, horizon: 8, maxRows: 64, positions: new Int32Array(8) },
      queries: { heads: 2, scale: 1, rows: new Uint16Array(8 * 2 * 32) },
    }),
  attend: () =>
    addon.attend({
      ...{ ...job, memoryLimit: null, layer: 0, slots: large.slots, rows: 4, bias: null, outputs: false },
      queries: new Float32Array(2 * 4 * 32),
    }),
  bench: () =>
    addon.bench({
      ...{
        backend: "cpu",
        op: "key-stats",
        type: "f16",
        valueTransposed: false,
        flag: null,
        memoryLimit: null,
      },
      ...{ layers: 1, kvHeads: 1, headDim: 8, cells: 8, ratio: 2, threads: 1, runs: 1, queryRows: 8 },
    }),
};

const isPromise = (value: unknown): value is Promise<unknown> => value instanceof Promise;

/** The least of many runs, in milliseconds: other work on the machine only ever makes one slower. */
function least(call: () => unknown): number {
  let best = Number.POSITIVE_INFINITY;
  for (let run = 0; run < 60; run++) {
    const started = performance.now();
    call();
    best = Math.min(best, performance.now() - started);
  }
  return best;
}

it("knows every export, and only those", () => {
  const known = [...Object.keys(SHORT), ...Object.keys(ASYNC)].sort();
  expect(Object.keys(addon).sort()).toEqual(known);
});

describe("short", () => {
  it.each(Object.entries(SHORT))("%s: under a millisecond", (_name, { call, why }) => {
    expect(why).not.toBe("");
    expect(isPromise(call())).toBe(false);
    expect(least(call)).toBeLessThan(1);
  });
});

describe("asynchronous", () => {
  it.each(Object.entries(ASYNC))("%s: returns a promise", async (name, call) => {
    const original = addon[name as keyof NativeAddon] as (...args: unknown[]) => unknown;
    let returned: unknown;
    // what the export itself returns, not the function around it
    const spied = (...args: unknown[]): unknown => {
      returned = original(...args);
      return returned;
    };
    const own = addon as unknown as Record<string, unknown>;
    own[name] = spied;
    try {
      await call();
    } finally {
      own[name] = original;
    }
    expect(isPromise(returned)).toBe(true);
  });

  it("dispose gives the memory of a large fold back elsewhere", async () => {
    const folds: FoldExternal[] = [];
    for (let i = 0; i < 8; i++) folds.push(await prepared());
    const times = folds.map((fold) => {
      const started = performance.now();
      void addon.dispose(fold);
      return performance.now() - started;
    });
    expect(Math.min(...times)).toBeLessThan(1);
    await expect(addon.dispose(folds[0]!)).resolves.toBeUndefined();
  });
});
