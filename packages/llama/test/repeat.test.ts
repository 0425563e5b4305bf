/** The signal `repeat`: a second reading that leaves no trace but what it attended to. */
import { fileURLToPath } from "node:url";
import { attendHead, decodeF16, keepPlan } from "@kvfold/core";
import { type Bound, boundFor, expectWithin } from "@kvfold/testkit";
import { describe, expect, it, onTestFinished } from "vitest";
import { type LlamaSequence, loadModel } from "../src/index.js";
import { stateOf } from "../src/sequence/sequence.js";
import {
  applied,
  CACHES,
  everyNth,
  GEMMA,
  LLAMA,
  open,
  refused,
  SPECS,
  sameBytes,
  someTokens,
} from "./fixtures.js";

const nanoPath = fileURLToPath(new URL("../../model-nano/model/kvfold-nano-8k-q8_0.gguf", import.meta.url));
const COUNT = 100;
/** Of the chunk before, read again so that the model knows where to go on. */
const LEAD = 8;
const tokens = someTokens(COUNT, LLAMA.vocabulary);

async function repeatOf(sequence: LlamaSequence) {
  const lease = await sequence.lease();
  lease.release();
  return lease.signals.repeat;
}

/** The same from the parts: append by hand, sample every query, attend in double. */
async function byHand(sequence: LlamaSequence, chunk: number): Promise<Float64Array[]> {
  const state = stateOf(sequence);
  const { addon, handle } = state.context;
  const lease = await sequence.lease();
  const keys = await Promise.all(lease.shape.layers.map((_, layer) => lease.keys(layer, "stored")));
  const most = lease.shape.layers.map(({ kvHeads }) => new Float64Array(kvHeads * COUNT));
  for (let from = 0; from < COUNT; from += chunk) {
    const lead = tokens.slice(Math.max(0, from - LEAD), from);
    const part = tokens.slice(from, from + chunk);
    const queries = addon.startQueries(handle, {
      ...{ maxPositions: chunk, maxBytes: 2 ** 24, newest: 0, seed: 9 },
      layers: Uint32Array.from(lease.shape.layers.keys()),
    });
    const job = { sequence: 0, logits: 0, logProbs: false, previous: null } as const;
    if (lead.length > 0) await addon.decode(handle, { ...job, start: COUNT, tokens: Int32Array.from(lead) });
    const start = COUNT + lead.length;
    await addon.decode(handle, { ...job, start, tokens: Int32Array.from(part), queries });
    addon.removeRange(handle, 0, COUNT, -1);
    const taken = await addon.takeQueries(queries);
    lease.shape.layers.forEach(({ kvHeads, keyDim }, layer) => {
      const { heads, rows } = taken.layers[layer]!;
      for (let head = 0; head < heads; head++) {
        const kvHead = Math.floor(head / (heads / kvHeads));
        const own = Float64Array.from({ length: part.length * keyDim }, (_, i) => {
          const sample = Math.floor(i / keyDim);
          return decodeF16(rows[(sample * heads + head) * keyDim + (i % keyDim)]!) / Math.sqrt(keyDim);
        });
        const range = [kvHead * COUNT, (kvHead + 1) * COUNT] as const;
        const { maximum } = attendHead({
          ...{ dim: keyDim, queries: own },
          keys: keys[layer]!.subarray(range[0] * keyDim, range[1] * keyDim),
        });
        maximum.forEach((weight, cell) => {
          most[layer]![range[0] + cell] = Math.max(most[layer]![range[0] + cell]!, weight);
        });
      }
    });
  }
  lease.release();
  return most;
}

describe.each(SPECS)("$architecture", (spec) => {
  it.each(CACHES)(
    "is what the queries of a second reading attend to ($cacheType, $flashAttention)",
    async (cache) => {
      const { sequence } = await open(spec, cache);
      const plain = await sequence.prefill(tokens);
      const bytes = await sequence.stateBytes();
      const next = await sequence.decode(5);
      await sequence.clear();
      const { logits } = await sequence.prefill(tokens, { signals: ["repeat"], repeatChunk: 32 });
      expect(sameBytes(logits, plain.logits)).toBe(true);
      // the cache is the same to the last byte, and so is what follows
      expect(sameBytes(await sequence.stateBytes(), bytes)).toBe(true);
      expect(sequence.cells).toBe(COUNT);
      expect(sequence.tokensSeen).toBe(COUNT);
      const got = (await repeatOf(sequence))!;
      const want = await byHand(sequence, 32);
      got.layers.forEach((layer, index) => {
        // the sum of keyDim products of numbers of at most 2^5, twice; see the row for fits
        const sizes = { rows: 64, cells: COUNT, keyDim: spec.headDim, score: 2 ** 7 };
        const { output } = boundFor("fit", "f32", { ...sizes, free: 1, lambda: 1, value: 1, length: 1 });
        const bound: Bound = { absolute: 2 ** -100, relative: output, ofBlockMax: 0, block: 1 };
        expectWithin(layer, want[index]!, bound, `layer ${index}`);
      });
      expect(sameBytes(await sequence.decode(5), next)).toBe(true);
    },
  );
});

it("goes with the cells it was made for", async () => {
  const { sequence } = await open(LLAMA);
  await sequence.prefill(tokens, { signals: ["repeat", "queries"] });
  const first = await repeatOf(sequence);
  expect(first!.layers.map((layer) => layer.length)).toEqual(Array(LLAMA.layers).fill(LLAMA.kvHeads * COUNT));
  const lease = await sequence.lease();
  // the second reading is no part of the sample
  expect(lease.signals.queries!.positions.every((position) => position < COUNT)).toBe(true);
  lease.release();
  const snapshot = await sequence.snapshot();
  await sequence.decode(1);
  expect(await repeatOf(sequence)).toBeNull();
  await sequence.restore(snapshot);
  expect(await repeatOf(sequence)).toEqual(first);
  await applied(sequence, (view) => keepPlan(view, everyNth(view.shape.cells, 3)));
  expect(await repeatOf(sequence)).toBeNull();
  await sequence.clear();
  // all of a context that came in two parts
  await sequence.prefill(tokens.slice(0, 50));
  await sequence.prefill(tokens.slice(50), { signals: ["repeat"] });
  expect((await repeatOf(sequence))!.layers[0]).toHaveLength(LLAMA.kvHeads * COUNT);
});

it("lets a model that can repeat point at what cannot be guessed", async () => {
  const model = await loadModel({ modelPath: nanoPath });
  onTestFinished(() => model.dispose());
  const context = await model.createContext({ contextSize: 1024, threads: 1 });
  onTestFinished(() => context.dispose());
  const junk = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again. ";
  const needle = "The pass key is 71432. Remember it. 71432 is the pass key. ";
  const before = await model.tokenize(junk.repeat(6));
  const prompt = [
    ...before,
    ...(await model.tokenize(needle, { bos: false })),
    ...(await model.tokenize(junk.repeat(6), { bos: false })),
  ];
  const sequence = context.sequence();
  await sequence.prefill(prompt, { signals: ["repeat"], repeatChunk: 64 });
  const { layers } = (await repeatOf(sequence))!;
  const most = prompt.map((_, cell) =>
    Math.max(...layers.flatMap((layer) => headsAt(layer, prompt.length, cell))),
  );
  const mean = (from: number, to: number): number =>
    most.slice(from, to).reduce((sum, weight) => sum + weight, 0) / (to - from);
  const { length } = await model.tokenize(needle, { bos: false });
  // the first and the last sentences are read without anything to compare them with
  const needles = mean(before.length, before.length + length);
  expect(needles).toBeGreaterThan(1.5 * mean(before.length + length, prompt.length));
});

/** The weights of one cell in all heads. */
const headsAt = (layer: Float32Array, cells: number, cell: number): number[] =>
  Array.from({ length: layer.length / cells }, (_, head) => layer[head * cells + cell]!);

it("tells its progress, and can be stopped without a trace", async () => {
  const { sequence } = await open(LLAMA, { batchSize: 16 });
  const steps: [number, number][] = [];
  const onProgress = (done: number, total: number): void => void steps.push([done, total]);
  await sequence.prefill(tokens, { signals: ["repeat"], repeatChunk: 40, onProgress });
  const total = COUNT + COUNT + 2 * LEAD;
  expect(steps.at(-1)).toEqual([total, total]);
  expect(steps.every(([done], i) => i === 0 || done >= steps[i - 1]![0])).toBe(true);
  const bytes = await sequence.stateBytes();
  await sequence.clear();
  const controller = new AbortController();
  const reading = sequence.prefill(tokens, {
    ...{ signals: ["repeat"], repeatChunk: 40, signal: controller.signal },
    onProgress: (done) => {
      if (done > COUNT + 60) controller.abort();
    },
  });
  await refused(reading, "KVFOLD_ABORTED");
  // the prompt itself was read
  expect(sequence.cells).toBe(COUNT);
  expect(await repeatOf(sequence)).toBeNull();
  expect(sameBytes(await sequence.stateBytes(), bytes)).toBe(true);
});

it("is refused before anything is read", async () => {
  const { sequence } = await open(LLAMA, { contextSize: 256 });
  const long = someTokens(200, LLAMA.vocabulary);
  for (const [options, code] of [
    [{}, "KVFOLD_CACHE_FULL"],
    [{ repeatChunk: 49 }, "KVFOLD_CACHE_FULL"],
    [{ repeatChunk: 0 }, "KVFOLD_ARGUMENT"],
    [{ repeatChunk: 1.5 }, "KVFOLD_ARGUMENT"],
  ] as const) {
    await refused(sequence.prefill(long, { signals: ["repeat"], ...options }), code);
    expect(sequence.cells).toBe(0);
  }
  await sequence.prefill(long, { signals: ["repeat"], repeatChunk: 48 });
  await applied(sequence, (view) => keepPlan(view, everyNth(view.shape.cells, 3)));
  const error = await refused(sequence.prefill([1, 2], { signals: ["repeat"] }), "KVFOLD_UNSUPPORTED");
  expect(error.message).toContain("before the first fold");
  const windowed = await open(GEMMA);
  await refused(windowed.sequence.prefill(tokens, { signals: ["repeat"] }), "KVFOLD_UNSUPPORTED");
  expect(windowed.sequence.cells).toBe(0);
});
