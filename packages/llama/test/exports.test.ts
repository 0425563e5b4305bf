/**
 * Every export of the bridge is either asynchronous or runs on the event loop for a reason that stands here. A new export
 * fails this test until it does.
 */
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { type LlamaContext, type LlamaModel, type LlamaSequence, loadModel } from "../src/index.js";
import type { LlamaAddon, ModelHandle, QueriesHandle } from "../src/native/addon.js";
import { loadBridge } from "../src/native/bridge.js";
import type { DeviceFoldHandle, RawChunk, TensorsHandle } from "../src/native/device-addon.js";
import { stateOf } from "../src/sequence/sequence.js";
import { someTokens } from "./fixtures.js";

const CELLS = 4096;
const modelPath = fileURLToPath(new URL("../../model-nano/model/kvfold-nano-8k-q8_0.gguf", import.meta.url));
const { addon } = loadBridge();

interface Opened {
  readonly model: LlamaModel;
  readonly weights: ModelHandle;
  readonly context: LlamaContext;
  readonly sequence: LlamaSequence;
  readonly handle: ReturnType<typeof stateOf>["context"]["handle"];
  readonly queries: QueriesHandle;
  readonly tensors: TensorsHandle;
  readonly fold: DeviceFoldHandle;
}
let opened: Opened;

const QUERIES = { maxPositions: 8, maxBytes: 2 ** 24, newest: 0, seed: 0, layers: Uint32Array.of(0, 1) };
const NO_SUMS = {
  ...{ to: new Int32Array(0), offsets: new Uint32Array(1), from: new Int32Array(0) },
  ...{ weights: new Float32Array(0), turns: new Int32Array(0) },
};
/** Writes nothing. */
const NOTHING: RawChunk = {
  ...{ layer: 0, kind: 0, firstHead: 0, heads: 1, wholeCells: false, cells: 1 },
  ...{ copiedFrom: new Int32Array(0), copiedTo: new Int32Array(0) },
  ...{ givenTo: new Int32Array(0), given: new Uint8Array(0), sums: NO_SUMS, turned: NO_SUMS },
};
const OPTIONS = { context: 256, sequences: 1, unified: false, batch: 16, threads: 1 };

beforeAll(async () => {
  const model = await loadModel({ modelPath });
  const context = await model.createContext({ contextSize: 2 * CELLS, threads: 1 });
  const sequence = context.sequence();
  await sequence.prefill(someTokens(CELLS, model.info.vocabularySize), { signals: ["queries"] });
  const { handle } = stateOf(sequence).context;
  const weights = await addon.loadModel(modelPath, 0, addon.createFlag());
  const { layers } = stateOf(sequence).context.layout!;
  const tensors = addon.cacheTensors(
    handle,
    0,
    layers.map((layer) => layer.rope?.frequencies ?? new Float64Array(0)),
  );
  const fold = await addon.openFold(tensors, 8, true);
  opened = {
    ...{ model, weights, context, sequence, handle, tensors, fold },
    queries: stateOf(sequence).queries!.handle,
  };
  return async () => {
    await addon.closeFold(fold);
    await addon.freeModel(weights);
    await context.dispose();
    await model.dispose();
  };
}, 300_000);

/** Runs on the event loop. `why`: what keeps it short whatever the caller gives. */
interface Short {
  readonly why: string;
  call(opened: Opened): unknown;
}

const frequencies = (): Float64Array[] =>
  stateOf(opened.sequence).context.layout!.layers.map(
    (layer) => layer.rope?.frequencies ?? new Float64Array(0),
  );

const SHORT: Partial<Record<keyof LlamaAddon, Short>> = {
  createFlag: { why: "allocates a word", call: () => addon.createFlag() },
  raiseFlag: { why: "sets a word", call: () => addon.raiseFlag(addon.createFlag()) },
  cancel: { why: "sets a word", call: ({ handle }) => addon.cancel(handle) },
  metaValue: {
    why: "one look-up",
    call: ({ weights }) => addon.metaValue(weights, "general.architecture"),
  },
  describeModel: { why: "a few numbers and words", call: ({ weights }) => addon.describeModel(weights) },
  describeContext: { why: "a few numbers a layer", call: ({ handle }) => addon.describeContext(handle) },
  tokenText: { why: "one token", call: ({ weights }) => addon.tokenText(weights, 5) },
  isEnd: { why: "one token", call: ({ weights }) => addon.isEnd(weights, 5) },
  biasRewrites: { why: "reads a number", call: ({ handle }) => addon.biasRewrites(handle) },
  memoryOf: { why: "a few numbers a layer", call: ({ handle }) => addon.memoryOf(handle, 0, frequencies()) },
  largestPosition: {
    why: "llama.cpp keeps the positions in order",
    call: ({ handle }) => addon.largestPosition(handle, 0),
  },
  devices: { why: "a few words a device", call: () => addon.devices() },
  cacheTensors: {
    why: "finds the tensors of each layer",
    call: ({ handle }) => addon.cacheTensors(handle, 0, frequencies()),
  },
  heldBytes: { why: "reads a number", call: () => addon.heldBytes(opened.fold) },
  queryBytes: { why: "multiplies", call: ({ queries }) => addon.queryBytes(queries) },
  copyQueries: {
    why: "shares the sample; whoever writes first copies, off the event loop",
    call: ({ queries }) => addon.copyQueries(queries),
  },
  startQueries: {
    why: "the sample grows while tokens are read",
    call: ({ handle }) => addon.startQueries(handle, QUERIES),
  },
};

/**
 * Run on the event loop although their time grows with something: a step over an array of small numbers, some 25 ns for
 * each cell of the context or less, a millisecond at about 40,000. They decide which cells a fold or a restored snapshot
 * takes, and nothing may happen between that and its use.
 */
const A_STEP_A_CELL: typeof SHORT = {
  cellMap: { why: "reads a number a cell", call: ({ handle }) => addon.cellMap(handle, 0) },
  recordedCellMap: {
    why: "reads a number a cell; for the self-test",
    call: ({ handle }) => addon.recordedCellMap(handle, 0),
  },
  lowestCells: { why: "reads a bit a cell", call: ({ handle }) => addon.lowestCells(handle, 0, CELLS) },
  setBias: {
    why: "copies a number a biased cell",
    call: ({ handle }) => addon.setBias(handle, 0, new Uint32Array(0), new Float32Array(0)),
  },
  removeRange: {
    why: "llama.cpp looks at every cell of the range",
    call: ({ handle }) => addon.removeRange(handle, 0, 2 * CELLS, -1),
  },
};

/** Run on the event loop and may take longer: known, and whose choice it is. */
const KNOWN_TO_BE_LONG: Partial<Record<keyof LlamaAddon, string>> = {
  loadBackends: "opens shared libraries, once in the life of a process, before there is anything to wait for",
  loadDeviceLibrary: "as loadBackends, for a device",
  createTensors: "allocates; for trial folds, on a few cells",
  downloadTensor: "copies all bytes of a tensor of our own; as createTensors",
  uploadTensor: "copies all bytes of a tensor of our own; as createTensors",
};

/** Runs on another thread. */
const ASYNC: Partial<Record<keyof LlamaAddon, (opened: Opened) => unknown>> = {
  loadModel: async () => addon.freeModel(await addon.loadModel(modelPath, 0, addon.createFlag())),
  freeModel: async () => addon.freeModel(await addon.loadModel(modelPath, 0, addon.createFlag())),
  tokenize: ({ weights }) => addon.tokenize(weights, "some text", true, false),
  detokenize: ({ weights }) => addon.detokenize(weights, Int32Array.of(5, 6)),
  createContext: async ({ weights }) => {
    await addon.freeContext(
      await addon.createContext(weights, { ...OPTIONS, flashAttention: true, cacheType: "f16" }),
    );
  },
  freeContext: async ({ weights }) => {
    const own = await addon.createContext(weights, { ...OPTIONS, flashAttention: true, cacheType: "f16" });
    await addon.freeContext(own);
    await addon.freeContext(own);
  },
  decode: ({ handle }) =>
    addon.decode(handle, {
      ...{ sequence: 0, start: CELLS, tokens: Int32Array.of(1), logits: 1, logProbs: false, previous: null },
    }),
  takeQueries: ({ queries }) => addon.takeQueries(queries),
  takeBackQueries: ({ queries }) => addon.takeBackQueries(addon.copyQueries(queries), 1),
  freeQueries: ({ queries }) => addon.freeQueries(addon.copyQueries(queries)),
  stateBytes: ({ handle }) => addon.stateBytes(handle, 0),
  setState: async ({ handle }) => {
    const bytes = await addon.stateBytes(handle, 0);
    await addon.setState(handle, 0, bytes, new Uint32Array(0));
  },
  openFold: async ({ tensors }) => addon.closeFold(await addon.openFold(tensors, 8, true)),
  closeFold: async ({ tensors }) => addon.closeFold(await addon.openFold(tensors, 8, true)),
  writeFold: async ({ tensors }) => {
    const fold = await addon.openFold(tensors, 8, true);
    await addon.writeFold(fold, NOTHING, -1);
    await addon.closeFold(fold);
  },
  rollBackFold: ({ fold }) => addon.rollBackFold(fold),
  readSlices: ({ tensors }) => addon.readSlices(tensors, 0, 0, 0, 1, Int32Array.of(0)),
  commitCells: ({ handle }) => {
    const { slots, positions } = addon.cellMap(handle, 0);
    return addon.commitCells(handle, 0, positions, slots, -1);
  },
};

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
  const tables = [SHORT, A_STEP_A_CELL, KNOWN_TO_BE_LONG, ASYNC];
  expect(Object.keys(addon).sort()).toEqual(tables.flatMap((table) => Object.keys(table)).sort());
  const preload = fileURLToPath(new URL("../build/Release/kvfold_preload.node", import.meta.url));
  // opens a shared library, as loadBackends does
  expect(Object.keys(createRequire(import.meta.url)(preload) as object)).toEqual(["load"]);
});

describe("on the event loop", () => {
  it.each([...Object.entries(SHORT), ...Object.entries(A_STEP_A_CELL)])(
    "%s: under a millisecond with 4096 cells",
    (_name, { call, why }) => {
      expect(why).not.toBe("");
      expect(call(opened)).not.toBeInstanceOf(Promise);
      expect(least(() => call(opened))).toBeLessThan(1);
    },
  );

  it.each(Object.entries(KNOWN_TO_BE_LONG))("%s has its reason", (_name, why) => {
    expect(why).not.toBe("");
  });
});

describe("asynchronous", () => {
  it.each(Object.entries(ASYNC))("%s returns a promise", async (name, call) => {
    const exports = addon as unknown as Record<string, (...args: unknown[]) => unknown>;
    const original = exports[name]!;
    const returned: unknown[] = [];
    // what the export itself returns, not the function around it
    exports[name] = (...args) => {
      returned.push(original(...args));
      return returned.at(-1);
    };
    try {
      await call(opened);
    } finally {
      exports[name] = original;
    }
    expect(returned.length).toBeGreaterThan(0);
    for (const each of returned) expect(each).toBeInstanceOf(Promise);
  });
});
