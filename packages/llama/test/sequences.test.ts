/** Several sequences in one context, shorter attention, long decoding, and what the records say. */
import { fold, keepPlan } from "@kvfold/core";
import { boundFor, expectWithin } from "@kvfold/testkit";
import { describe, expect, it } from "vitest";
import type { LlamaSequence } from "../src/index.js";
import { applied, everyNth, LLAMA, open, randomComposite, sameBytes, someTokens } from "./fixtures.js";
import { referenceModel } from "./reference/forward.js";
import { readCache } from "./reference/read-rows.js";

const COUNT = 80;
const tokens = someTokens(COUNT, LLAMA.vocabulary);
const evict = (sequence: LlamaSequence) =>
  applied(sequence, (view) => keepPlan(view, everyNth(view.shape.cells, 4)));

describe.each([{ unified: true }, { unified: false }])("several sequences, unified: $unified", (layout) => {
  it("folds one and leaves the others alone", async () => {
    const { context } = await open(LLAMA, { ...layout, sequences: 3 });
    const all = [0, 1, 2].map((id) => context.sequence(id));
    // interleaved, so that a unified cache holds them in alternating runs
    for (let from = 0; from < COUNT; from += 16) {
      for (const sequence of all) await sequence.prefill(tokens.slice(from, from + 16));
    }
    const others = [all[0]!, all[2]!];
    const plain: {
      snapshot: Awaited<ReturnType<LlamaSequence["snapshot"]>>;
      logits: Float32Array;
      bytes: Uint8Array;
      slots: Uint32Array;
    }[] = [];
    for (const sequence of others) {
      const bytes = await sequence.stateBytes();
      const { slots } = sequence.cellMap();
      const snapshot = await sequence.snapshot();
      const logits = await sequence.decode(5);
      await sequence.restore(snapshot);
      expect(sequence.cellMap().slots).toEqual(slots);
      plain.push({ snapshot, logits, bytes, slots });
    }
    await applied(all[1]!, (view) => randomComposite(view, 20, 3));
    expect(all[1]!.cells).toBe(20);
    for (const [i, sequence] of others.entries()) {
      expect(sequence.cellMap().slots).toEqual(plain[i]!.slots);
      expect(sameBytes(await sequence.stateBytes(), plain[i]!.bytes)).toBe(true);
      const again = await sequence.decode(5);
      // in a unified cache the new token now lies in a freed cell before the others: the same sum in another order
      const order = boundFor("logits", "f16", {
        flashAttention: true,
        layers: LLAMA.layers,
        cells: 3 * COUNT,
      });
      if (layout.unified) expectWithin(again, plain[i]!.logits, order, "another sequence");
      else expect(sameBytes(again, plain[i]!.logits)).toBe(true);
    }
    const position = all[1]!.nextPosition;
    const logits = await all[1]!.decode(5);
    const rows = await readCache(all[1]!);
    const bound = boundFor("logits", "f16", { flashAttention: true, layers: LLAMA.layers, cells: 21 });
    expectWithin(logits, referenceModel(LLAMA).attendOver(5, position, rows), bound, "the folded one");
  });

  it("takes the cells that a fold has freed", async () => {
    const { context } = await open(LLAMA, { ...layout, sequences: 2, contextSize: 256 });
    const [a, b] = [context.sequence(0), context.sequence(1)];
    const half = layout.unified ? 120 : 240;
    await a.prefill(someTokens(half, LLAMA.vocabulary));
    await b.prefill(someTokens(half, LLAMA.vocabulary));
    await expect(b.prefill(someTokens(80, LLAMA.vocabulary))).rejects.toMatchObject({
      code: "KVFOLD_CACHE_FULL",
    });
    expect(b.cells).toBe(half);
    await evict(layout.unified ? a : b);
    await b.prefill(someTokens(80, LLAMA.vocabulary));
    await expect(b.decode(1)).resolves.toHaveLength(LLAMA.vocabulary);
  });
});

it("shortens what llama.cpp attends over", async () => {
  const { sequence } = await open(LLAMA, { contextSize: 2048 });
  await sequence.prefill(someTokens(1000, LLAMA.vocabulary));
  await sequence.decode(1);
  expect(sequence.attentionLength).toBe(1024);
  const bytes = sequence.bytes;
  const report = await applied(sequence, (view) => randomComposite(view, 200, 5));
  await sequence.decode(1);
  expect(sequence.attentionLength).toBe(256);
  expect(sequence.bytes).toBe((bytes / 1001) * (report.rows + 1));
});

it("decodes on for 200 tokens after a fourfold fold", async () => {
  const { sequence } = await open(LLAMA);
  await sequence.prefill(someTokens(400, LLAMA.vocabulary));
  await applied(sequence, (view) => randomComposite(view, 100, 6));
  const { tokens: generated } = await sequence.generate({ maxTokens: 201, ignoreEnd: true });
  expect(generated).toHaveLength(201);
  expect(sequence.cells).toBe(300);
  expect(sequence.nextPosition).toBe(600);
  expect(sequence.tokensSeen).toBe(600);
  const { slots, positions } = sequence.cellMap();
  expect(new Set(slots).size).toBe(300);
  expect([...positions].every((position, i) => i === 0 || position > positions[i - 1]!)).toBe(true);
});

it("keeps reading and folding apart in the sources of keys", async () => {
  const { sequence } = await open(LLAMA);
  await sequence.prefill(tokens);
  const plan = await applied(sequence, (view) => randomComposite(view, 30, 9));
  await sequence.prefill([1, 2]);
  const lease = await sequence.lease();
  const sources = lease.sources(1)!;
  expect(sources).toHaveLength(LLAMA.kvHeads * 32);
  const from = (1 * LLAMA.kvHeads + 1) * 30;
  expect([...sources.slice(32, 62)]).toEqual([...plan.members.slice(from, from + 30)]);
  expect([...sources.slice(62)]).toEqual([COUNT, COUNT + 1]);
  // equal tokens give equal keys in layer 0 once the rotation is undone, wherever they stood
  const keys = await lease.keys(0, "unrotated");
  const token = (head: number, cell: number): number => tokens[lease.sources(0)![head * 32 + cell]!] ?? -1;
  const bound = boundFor("store", "f16");
  let compared = 0;
  for (let a = 0; a < 30; a++) {
    for (let b = a + 1; b < 30; b++) {
      if (token(0, a) !== token(0, b)) continue;
      compared += 1;
      const row = (cell: number): Float32Array =>
        keys.subarray(cell * LLAMA.headDim, (cell + 1) * LLAMA.headDim);
      // both keys were stored in f16 after their rotations, which mix two channels each
      expectWithin(
        row(a),
        row(b),
        { ...bound, relative: 0, ofBlockMax: 4 * bound.relative, block: LLAMA.headDim },
        "keys",
      );
    }
  }
  expect(compared).toBeGreaterThan(0);
  lease.release();
});

it("folds through the public door of core", async () => {
  const { sequence } = await open(LLAMA);
  await sequence.prefill(tokens);
  const report = await fold(sequence, {
    strategy: {
      name: "every-second",
      expression: "every-second",
      signals: [],
      scope: "all",
      appliesTo: () => true,
      plan: (view) => keepPlan(view, everyNth(view.shape.cells, 2, 0, 1)),
    },
    keep: { ratio: 2 },
  });
  expect(report).toMatchObject({ before: COUNT, changed: true });
  expect(report.bytesFreed).toBe((COUNT - report.after) * (sequence.bytes / sequence.cells));
  expect(sequence.cells).toBe(report.after);
});
