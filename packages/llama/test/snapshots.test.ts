/** Snapshots, rewinds and leases: the life of one sequence. */
import { keepPlan } from "@kvfold/core";
import { describe, expect, it } from "vitest";
import { applied, everyNth, LLAMA, open, pairs, randomComposite, sameBytes, someTokens } from "./fixtures.js";

const COUNT = 80;
const tokens = someTokens(COUNT, LLAMA.vocabulary);

it("undoes a fold by restoring a snapshot, as often as wanted, in any order", async () => {
  const { sequence } = await open(LLAMA, { cacheType: "q8_0" });
  await sequence.prefill(tokens, { signals: ["tokenLogProbs"] });
  const full = await sequence.snapshot();
  expect(full).toMatchObject({ cells: COUNT, tokensSeen: COUNT });
  const plain = await sequence.decode(9);
  await sequence.restore(full);
  await applied(sequence, (view) => pairs(view));
  const folded = await sequence.snapshot();
  const foldedLogits = await sequence.decode(9);
  expect(sameBytes(plain, foldedLogits)).toBe(false);
  for (const [snapshot, logits] of [
    [full, plain],
    [folded, foldedLogits],
    [full, plain],
    [folded, foldedLogits],
  ] as const) {
    await sequence.restore(snapshot);
    expect(sequence.cells).toBe(snapshot.cells);
    expect(sameBytes(await sequence.decode(9), logits)).toBe(true);
  }
  await sequence.restore(full);
  const lease = await sequence.lease();
  expect(lease.counts.every((count) => count === 1)).toBe(true);
  expect(lease.bias).toBeNull();
  expect([...lease.tokens!]).toEqual(tokens);
  expect(lease.signals.tokenLogProbs!.filter(Number.isNaN)).toHaveLength(1);
  lease.release();
});

it("carries a snapshot to another sequence and to another context, but not to another kind of cache", async () => {
  const { model, context } = await open(LLAMA, { sequences: 2 });
  const [a, b] = [context.sequence(0), context.sequence(1)];
  await a.prefill(tokens);
  const snapshot = await a.snapshot();
  const plain = await a.decode(2);
  await b.restore(snapshot);
  expect(sameBytes(await b.decode(2), plain)).toBe(true);
  const other = await model.createContext({ contextSize: 512, threads: 1, cacheType: "q8_0", sequences: 2 });
  await expect(other.sequence().restore(snapshot)).rejects.toMatchObject({ code: "KVFOLD_STATE" });
  await other.dispose();
  const same = await model.createContext({ contextSize: 512, threads: 1, sequences: 2 });
  await same.sequence(1).restore(snapshot);
  expect(sameBytes(await same.sequence(1).decode(2), plain)).toBe(true);
  await same.dispose();
  await expect(a.restore({ ...snapshot })).rejects.toMatchObject({ code: "KVFOLD_ARGUMENT" });
});

describe("rewind", () => {
  it("goes back and gives the same logits again", async () => {
    const { sequence } = await open(LLAMA);
    await sequence.prefill(tokens);
    const plain = await sequence.decode(7);
    await sequence.rewind(COUNT);
    expect(sequence.nextPosition).toBe(COUNT);
    expect(sequence.tokensSeen).toBe(COUNT);
    expect(sameBytes(await sequence.decode(7), plain)).toBe(true);
    await sequence.rewind(0);
    expect(sequence.cells).toBe(0);
    await sequence.prefill(tokens);
    expect(sameBytes(await sequence.decode(7), plain)).toBe(true);
  });

  it("refuses to cut folded cells", async () => {
    const { sequence } = await open(LLAMA);
    await sequence.prefill(tokens);
    await applied(sequence, (view) => randomComposite(view, 30, 4));
    await sequence.prefill([1, 2, 3]);
    await expect(sequence.rewind(COUNT - 20)).rejects.toMatchObject({ code: "KVFOLD_REWIND" });
    expect(sequence.cells).toBe(33);
    await sequence.rewind(COUNT + 1);
    expect(sequence.cells).toBe(31);
    // all heads keep the last 8 cells as they are, so they may go as well
    await sequence.rewind(COUNT - 7);
    expect(sequence.nextPosition).toBe(COUNT - 7);
    await expect(sequence.rewind(COUNT - 9)).rejects.toMatchObject({ code: "KVFOLD_REWIND" });
  });

  it("refuses where the token before was folded away", async () => {
    const { sequence } = await open(LLAMA);
    await sequence.prefill(tokens);
    await applied(sequence, (view) => keepPlan(view, [0, 1, 70, 71, 72]));
    await sequence.rewind(71);
    await expect(sequence.rewind(70)).rejects.toMatchObject({ code: "KVFOLD_REWIND" });
    expect(sequence.cells).toBe(3);
  });
});

describe("leases", () => {
  it("hold the cells still", async () => {
    const { sequence } = await open(LLAMA);
    await expect(sequence.lease()).rejects.toMatchObject({ code: "KVFOLD_CACHE_EMPTY" });
    await sequence.prefill(tokens);
    const lease = await sequence.lease();
    for (const call of [
      () => sequence.decode(1),
      () => sequence.prefill([1]),
      () => sequence.clear(),
      () => sequence.lease(),
      () => sequence.snapshot(),
      () => sequence.rewind(3),
      () => sequence.generate({ maxTokens: 1 }),
    ]) {
      await expect(call()).rejects.toMatchObject({ code: "KVFOLD_CACHE_BUSY" });
    }
    lease.release();
    const decoding = sequence.decode(1);
    await expect(sequence.lease()).rejects.toMatchObject({ code: "KVFOLD_CACHE_BUSY" });
    await decoding;
    await expect(lease.keys(0, "stored")).rejects.toMatchObject({ code: "KVFOLD_VIEW_STALE" });
    await expect(sequence.apply(lease, keepPlan(lease, [0]))).rejects.toMatchObject({
      code: "KVFOLD_VIEW_STALE",
    });
  });

  it("serve one fold", async () => {
    const { sequence } = await open(LLAMA);
    await sequence.prefill(tokens);
    const lease = await sequence.lease();
    await sequence.apply(lease, keepPlan(lease, everyNth(COUNT, 2)));
    await expect(sequence.apply(lease, keepPlan(lease, [0]))).rejects.toMatchObject({
      code: "KVFOLD_VIEW_STALE",
    });
    lease.release();
  });

  it("run calls in the order in which they were made", async () => {
    const { sequence } = await open(LLAMA);
    const results = await Promise.all([sequence.prefill(tokens), sequence.decode(1), sequence.decode(2)]);
    expect(sequence.cells).toBe(COUNT + 2);
    await sequence.clear();
    await sequence.prefill(tokens);
    expect(sameBytes(await sequence.decode(1), results[1])).toBe(true);
  });
});
