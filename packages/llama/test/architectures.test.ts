/** What the graph tells about a model: rotation, head sizes, Hadamard blocks, windowed layers. */
import { type CacheView, hadamardTransform, keepPlan, ropeFrequencies } from "@kvfold/core";
import { boundFor, expectWithin } from "@kvfold/testkit";
import { describe, expect, it } from "vitest";
import type { LlamaSequence } from "../src/index.js";
import { stateOf } from "../src/sequence/sequence.js";
import type { TinyModelSpec } from "../src/tiny-model/tiny-model.js";
import {
  applied,
  everyNth,
  GEMMA,
  LLAMA,
  open,
  QWEN,
  randomComposite,
  sameBytes,
  someTokens,
} from "./fixtures.js";

const COUNT = 60;

async function viewed<T>(sequence: LlamaSequence, look: (view: CacheView) => Promise<T>): Promise<T> {
  const lease = await sequence.lease();
  try {
    return await look(lease);
  } finally {
    lease.release();
  }
}

describe("layer shapes", () => {
  it.each([
    [LLAMA, "interleaved"],
    [QWEN, "half"],
  ] as const)("are read from the graph: $architecture", async (spec, pairing) => {
    const { context, sequence } = await open(spec, { cacheType: "q8_0" });
    expect(context.supported).toBe(true);
    const { layers, cells } = sequence.shape;
    expect(cells).toBe(0);
    expect(layers.map((layer) => layer.layer)).toEqual(Array.from({ length: spec.layers }, (_, i) => i));
    for (const layer of layers) {
      expect(layer).toMatchObject({
        kvHeads: spec.kvHeads,
        queryHeads: spec.heads,
        keyDim: spec.headDim,
        valueDim: spec.headDim,
        keyType: "q8_0",
        valueType: "q8_0",
        valueLayout: "rows",
        hadamard: { key: 64, value: 64 },
        window: null,
      });
      expect(layer.rope).toMatchObject({ pairing, dims: spec.headDim });
      expect(layer.rope!.frequencies).toEqual(ropeFrequencies({ dims: spec.headDim, base: spec.ropeBase }));
    }
  });

  it.each(["on", "off"] as const)("tell where values lie, flash attention %s", async (flashAttention) => {
    const { sequence } = await open(LLAMA, { flashAttention });
    const layout = flashAttention === "on" ? "rows" : "transposed";
    expect(sequence.shape.layers.every((layer) => layer.valueLayout === layout)).toBe(true);
    expect(
      sequence.shape.layers.every((layer) => layer.hadamard.key === 0 && layer.hadamard.value === 0),
    ).toBe(true);
  });

  it("know the block size of wider heads", async () => {
    const wide: TinyModelSpec = { ...QWEN, headDim: 128 };
    const { sequence } = await open(wide, { cacheType: "q8_0" });
    expect(sequence.shape.layers[0]!.hadamard).toEqual({ key: 128, value: 64 });
  });
});

/** Undoing RoPE gives equal tokens equal keys: only with the right frequencies does position not matter. */
describe.each([
  ["plain", LLAMA],
  ["half pairs", QWEN],
  ["YaRN", { ...LLAMA, yarn: { factor: 4, originalContext: 256 } }],
  [
    "linear scaling",
    { ...LLAMA, extra: { "rope.scaling.type": "linear", "rope.scaling.factor": { f32: 2 } } },
  ],
] as const)("rotation: %s", (_, spec: TinyModelSpec) => {
  it("is undone with the frequencies of the graph", async () => {
    const { sequence } = await open(spec, { cacheType: "f32", flashAttention: "off" });
    await sequence.prefill(Array<number>(COUNT).fill(7));
    await viewed(sequence, async (view) => {
      const stored = await view.keys(0, "stored");
      const keys = await view.keys(0, "unrotated");
      const size = spec.headDim;
      const first = keys.slice(0, size);
      // sine and cosine of angles up to 60 radians, once in llama.cpp's f32 and once here
      const bound = boundFor("fold", "f32", {
        rotated: true,
        members: 1,
        magnitude: 64 * Math.max(...first.map(Math.abs)),
      });
      for (const cell of [1, 17, COUNT - 1]) {
        expectWithin(keys.subarray(cell * size, (cell + 1) * size), first, bound, `cell ${cell}`);
        expect(() =>
          expectWithin(stored.subarray(cell * size, (cell + 1) * size), first, bound, "rotated"),
        ).toThrow();
      }
    });
  });
});

it("undoes the Hadamard rotation of a quantised cache", async () => {
  const tokens = someTokens(COUNT, LLAMA.vocabulary);
  const { model, sequence: plain } = await open(LLAMA);
  const quantised = (
    await model.createContext({ contextSize: 256, threads: 1, cacheType: "q8_0" })
  ).sequence();
  await plain.prefill(tokens);
  await quantised.prefill(tokens);
  const size = LLAMA.headDim;
  for (const kind of ["keys", "values"] as const) {
    const read = (view: CacheView): Promise<Float32Array> =>
      kind === "keys" ? view.keys(0, "stored") : view.values(0);
    const rows = await viewed(plain, read);
    const undone = await viewed(quantised, read);
    for (let head = 0; head < rows.length; head += size) {
      const rotated = rows.slice(head, head + size);
      hadamardTransform(rotated, 0, size, 64);
      const back = undone.slice(head, head + size);
      hadamardTransform(back, 0, size, 64);
      // in the stored basis both are one store apart; f16 rows carry their own rounding into the sums of 64 channels
      const bound = { ...boundFor("store", "q8_0"), relative: 2 ** -8, absolute: 2 ** -9 };
      expectWithin(back, rotated, bound, `${kind}, row ${head / size}`);
    }
  }
});

describe("windowed layers", () => {
  it("are left alone while the global ones fold", async () => {
    const { context, sequence } = await open(GEMMA, { cacheType: "f16" });
    expect(context.supported).toBe(true);
    expect(sequence.shape.layers.map((layer) => layer.layer)).toEqual([5]);
    await sequence.prefill(someTokens(300, GEMMA.vocabulary));
    const snapshot = await sequence.snapshot();
    const plain = await sequence.decode(3);
    await sequence.restore(snapshot);
    expect(sameBytes(await sequence.decode(3), plain)).toBe(true);
    await sequence.restore(snapshot);
    await applied(sequence, (view) => keepPlan(view, Array.from(view.positions.keys())));
    expect(sameBytes(await sequence.decode(3), plain)).toBe(true);
    await sequence.restore(snapshot);
    await applied(sequence, (view) => randomComposite(view, 60, 2));
    expect(sequence.cells).toBe(60);
    expect(sequence.nextPosition).toBe(300);
    await sequence.generate({ maxTokens: 100, ignoreEnd: true });
    expect(sequence.cells).toBe(159);
    await sequence.restore(snapshot);
    expect(sameBytes(await sequence.decode(3), plain)).toBe(true);
    await expect(sequence.rewind(290)).rejects.toMatchObject({ code: "KVFOLD_REWIND" });
  });

  it("fold like llama.cpp's own removal where nothing is windowed yet", async () => {
    const wide: TinyModelSpec = { ...GEMMA, window: 512 };
    const { context } = await open(wide, { cacheType: "f32", flashAttention: "off", sequences: 2 });
    const [a, b] = [context.sequence(0), context.sequence(1)];
    const tokens = someTokens(COUNT, GEMMA.vocabulary);
    await a.prefill(tokens);
    await b.prefill(tokens);
    const kept = everyNth(COUNT, 3);
    await applied(a, (view) => keepPlan(view, kept));
    // the other sequence: its global cells are given the same positions by hand, the windowed ones stay
    const state = stateOf(b);
    const { slots } = state.context.addon.cellMap(state.context.handle, 1);
    await state.context.addon.commitCells(
      state.context.handle,
      1,
      Int32Array.from(kept),
      Uint32Array.from(kept, (cell) => slots[cell]!),
      -1,
    );
    const decoded = await state.context.addon.decode(state.context.handle, {
      sequence: 1,
      start: COUNT,
      tokens: Int32Array.of(3),
      logits: 1,
      logProbs: false,
      previous: null,
    });
    const bound = boundFor("logits", "f32", { flashAttention: false, layers: GEMMA.layers, cells: COUNT });
    expectWithin(await a.decode(3), decoded.logits!, bound, "packed against unpacked");
  });
});
