/** A sample lives with its sequence: begun at the first token or not at all, kept over folds, cut by rewinds. */
import { fold, keepPlan, type MergeStrategy, type QuerySample } from "@kvfold/core";
import { expect, it } from "vitest";
import { type LlamaSequence, prefillAndFold } from "../src/index.js";
import { stateOf } from "../src/sequence/sequence.js";
import type { TinyModelSpec } from "../src/tiny-model/tiny-model.js";
import { applied, everyNth, LLAMA, open, openFile, refused, someTokens } from "./fixtures.js";
import { softCapFile } from "./tiny-model/odd-models.js";

const SPEC: TinyModelSpec = { ...LLAMA, layers: 1 };
const tokens = someTokens(300, SPEC.vocabulary);
const asked = { signals: ["queries"], queryRows: 64 } as const;

async function sampleOf(sequence: LlamaSequence): Promise<QuerySample | null> {
  const lease = await sequence.lease();
  lease.release();
  return lease.signals.queries;
}

const strategy: MergeStrategy = {
  name: "asks",
  expression: "asks",
  signals: ["queries"],
  scope: "all",
  appliesTo: () => true,
  plan: (view, { target }) => keepPlan(view, everyNth(view.shape.cells, 1).slice(-target)),
};

it("is the same object until tokens come, and its hash names its content", async () => {
  const { sequence } = await open(SPEC);
  await sequence.prefill(tokens.slice(0, 100), asked);
  const first = await sampleOf(sequence);
  expect(await sampleOf(sequence)).toBe(first);
  await sequence.prefill(tokens.slice(100));
  const second = (await sampleOf(sequence))!;
  expect(second).not.toBe(first);
  expect(second.hash).not.toBe(first!.hash);
  expect(second.hash).toMatch(/^[0-9a-f]{64}$/);
  await sequence.clear();
  await sequence.prefill(tokens.slice(0, 100), asked);
  expect((await sampleOf(sequence))!.hash).toBe(first!.hash);
});

it("is null unless it was asked for with the first tokens, and a fold says how to get it", async () => {
  const { sequence } = await open(SPEC);
  await sequence.prefill(tokens.slice(0, 100));
  await sequence.prefill(tokens.slice(100), asked);
  expect(await sampleOf(sequence)).toBeNull();
  const error = await refused(fold(sequence, { strategy, keep: { ratio: 2 } }), "KVFOLD_SIGNAL_MISSING");
  expect(error.hint).toContain("before the prompt is read");
  await sequence.clear();
  await sequence.prefill(tokens, asked);
  expect((await fold(sequence, { strategy, keep: { ratio: 2 } })).after).toBe(150);
  await sequence.clear();
  await sequence.prefill(tokens);
  expect(await sampleOf(sequence)).toBeNull();
});

it("outlives folds and goes on with what is read after them", async () => {
  const { sequence } = await open(SPEC);
  await sequence.prefill(tokens.slice(0, 200), asked);
  const before = (await sampleOf(sequence))!;
  await applied(sequence, (view) => keepPlan(view, everyNth(view.shape.cells, 4)));
  expect((await sampleOf(sequence))!.hash).toBe(before.hash);
  await sequence.prefill(tokens.slice(200));
  const after = (await sampleOf(sequence))!;
  expect(after.positions).toHaveLength(32);
  expect(after.positions.some((position) => position >= 200)).toBe(true);
});

it("is part of a snapshot, and each copy goes its own way", async () => {
  const { sequence, context } = await open(SPEC, { sequences: 2 });
  await sequence.prefill(tokens.slice(0, 200), asked);
  const first = (await sampleOf(sequence))!;
  const snapshot = await sequence.snapshot();
  expect(snapshot.bytes).toBe((await sequence.stateBytes()).byteLength + first.layers[0]!.rows.byteLength);
  await sequence.prefill(tokens.slice(200));
  const second = (await sampleOf(sequence))!;
  expect(second.hash).not.toBe(first.hash);
  for (let round = 0; round < 2; round++) {
    await sequence.restore(snapshot);
    expect((await sampleOf(sequence))!.hash).toBe(first.hash);
    await sequence.prefill(tokens.slice(200));
    expect((await sampleOf(sequence))!.hash).toBe(second.hash);
  }
  const other = context.sequence(1);
  await other.restore(snapshot);
  expect((await sampleOf(other))!.hash).toBe(first.hash);
  const bare = await (async () => {
    await other.clear();
    await other.prefill(tokens);
    return other.snapshot();
  })();
  await sequence.restore(bare);
  expect(await sampleOf(sequence)).toBeNull();
});

it("loses what a rewind cuts off, and nothing else", async () => {
  const { sequence } = await open(SPEC);
  const all = { signals: ["queries"] } as const;
  await sequence.prefill(tokens.slice(0, 120), all);
  const direct = (await sampleOf(sequence))!;
  await sequence.prefill(tokens.slice(120));
  await sequence.rewind(120);
  expect((await sampleOf(sequence))!.hash).toBe(direct.hash);
  await sequence.prefill(tokens.slice(120));
  const again = (await sampleOf(sequence))!;
  expect(again.positions).toHaveLength(300);
  // a bounded sample cannot get back what the lost tokens had displaced, but it has none of theirs
  await sequence.clear();
  await sequence.prefill(tokens, asked);
  await sequence.rewind(120);
  const left = (await sampleOf(sequence))!;
  expect(left.positions.length).toBeGreaterThan(0);
  expect(left.positions.every((position) => position < 120)).toBe(true);
  await sequence.prefill(someTokens(180, SPEC.vocabulary, 11));
  const full = (await sampleOf(sequence))!;
  expect(full.positions.length).toBeLessThanOrEqual(32);
  expect(new Set(full.positions).size).toBe(full.positions.length);
  await sequence.rewind(0);
  await sequence.prefill(tokens.slice(0, 10));
  expect(new Set((await sampleOf(sequence))!.positions)).toEqual(new Set(tokens.slice(0, 10).keys()));
});

it("has no trace of tokens whose evaluation was stopped", async () => {
  const { sequence } = await open(SPEC, { batchSize: 64 });
  const controller = new AbortController();
  const reading = sequence.prefill(tokens, {
    ...asked,
    signal: controller.signal,
    onProgress: (done) => {
      if (done === 128) controller.abort();
    },
  });
  await refused(reading, "KVFOLD_ABORTED");
  const read = sequence.cells;
  expect(read).toBeGreaterThanOrEqual(128);
  const stopped = (await sampleOf(sequence))!;
  expect(stopped.positions.every((position) => position < read)).toBe(true);
  await sequence.prefill(tokens.slice(read));
  const rest = (await sampleOf(sequence))!;
  await sequence.clear();
  await sequence.prefill(tokens, asked);
  expect(rest.positions).toEqual((await sampleOf(sequence))!.positions);
});

it("goes into each fold of a prompt that is folded while it is read, which the second reading cannot", async () => {
  const { sequence } = await open(SPEC);
  const report = await prefillAndFold(sequence, tokens, { every: 100, strategy, ratio: 2, queryRows: 64 });
  expect(report.folds).toHaveLength(3);
  expect((await sampleOf(sequence))!.positions).toHaveLength(32);
  await sequence.clear();
  const twice = prefillAndFold(sequence, tokens, { every: 100, strategy, ratio: 2, signals: ["repeat"] });
  const error = await refused(twice, "KVFOLD_ARGUMENT");
  expect(error.hint).toContain("fold once");
  expect(sequence.cells).toBe(0);
});

it("is refused before anything is read or allocated", async () => {
  const { sequence } = await open(SPEC);
  for (const limits of [
    { queryRows: 0 },
    { queryRows: 1.5 },
    { queryRows: 2 ** 30 },
    { queryRows: 1 },
    { queryBytes: 0 },
    { queryBytes: Number.NaN },
    { queryBytes: 1000 },
    { queryRows: 2 ** 20, queryBytes: 2 ** 20 },
  ]) {
    await refused(sequence.prefill(tokens, { signals: ["queries"], ...limits }), "KVFOLD_ARGUMENT");
    expect(sequence.cells).toBe(0);
  }
  const bytes = 32 * SPEC.heads * SPEC.headDim * 2;
  await sequence.prefill(tokens, { ...asked, queryBytes: bytes });
  expect((await sampleOf(sequence))!.layers[0]!.rows.byteLength).toBe(bytes);
});

it("has nothing of layers whose attention is more than softmax(scale q.k) v", async () => {
  const { sequence, context } = await openFile(softCapFile());
  expect(context.supported).toBe(true);
  await refused(sequence.prefill([1, 2, 3], { signals: ["queries"] }), "KVFOLD_UNSUPPORTED");
  await refused(sequence.prefill([1, 2, 3], { signals: ["repeat"] }), "KVFOLD_UNSUPPORTED");
  expect(sequence.cells).toBe(0);
  await sequence.prefill([1, 2, 3]);
  expect(await sampleOf(sequence)).toBeNull();
});

it("is checked by the bridge too", async () => {
  const { sequence } = await open(SPEC);
  const { addon, handle } = stateOf(sequence).context;
  const good = { maxPositions: 4, maxBytes: 2 ** 20, newest: 2, seed: 0, layers: Uint32Array.of(0) };
  for (const bad of [
    { maxPositions: 0 },
    { maxPositions: 2 ** 31 },
    { maxBytes: 1 },
    { newest: 5 },
    { newest: -1 },
    { seed: -1 },
    { layers: Uint32Array.of(1) },
    { layers: Uint32Array.of(0, 0) },
    { layers: [0] as never },
  ]) {
    expect(() => addon.startQueries(handle, { ...good, ...bad })).toThrow(
      expect.objectContaining({ code: "KVFOLD_ARGUMENT" }),
    );
  }
  const queries = addon.startQueries(handle, good);
  expect(await addon.takeQueries(queries)).toMatchObject({ positions: new Int32Array(0) });
  expect(() => addon.takeQueries(handle as never)).toThrow(
    expect.objectContaining({ code: "KVFOLD_ARGUMENT" }),
  );
  await addon.freeQueries(queries);
  await addon.freeQueries(queries);
  expect(() => addon.takeQueries(queries)).toThrow(expect.objectContaining({ code: "KVFOLD_DISPOSED" }));
  const job = {
    sequence: 0,
    start: 0,
    tokens: Int32Array.of(1),
    logits: 0,
    logProbs: false,
    previous: null,
  } as const;
  await refused(addon.decode(handle, { ...job, queries }), "KVFOLD_DISPOSED");
});
