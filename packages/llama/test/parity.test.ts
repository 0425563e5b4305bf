/** The bridge computes what the model says: logits against a transformer in double, from the tokens alone. */
import { boundFor, expectWithin } from "@kvfold/testkit";
import { describe, expect, it } from "vitest";
import { CACHES, cacheName, open, SPECS, sameBytes, someTokens } from "./fixtures.js";
import { referenceModel } from "./reference/forward.js";

const COUNT = 40;

describe.each(SPECS)("$architecture", (spec) => {
  const tokens = someTokens(COUNT, spec.vocabulary);
  const wanted = referenceModel(spec).fromTokens(tokens);

  it.each(CACHES)(
    "evaluates as the reference does ($cacheType, flash attention $flashAttention)",
    async (cache) => {
      const { sequence } = await open(spec, cache);
      const logits = await sequence.evaluate(tokens, { logits: "all" });
      expect(logits).toHaveLength(COUNT);
      const bound = boundFor("logits", cache.cacheType!, {
        flashAttention: cache.flashAttention === "on",
        layers: spec.layers,
        cells: COUNT,
      });
      logits.forEach((row, i) => {
        expectWithin(row, wanted[i]!, bound, `${cacheName(cache)}, token ${i}`);
      });
    },
  );

  it("tells the surprise of every token, over batches", async () => {
    const { sequence } = await open(spec, { cacheType: "f32", flashAttention: "off", batchSize: 16 });
    await sequence.prefill(tokens, { signals: ["tokenLogProbs"] });
    const lease = await sequence.lease();
    const told = lease.signals.tokenLogProbs!;
    lease.release();
    const surprise = tokens.map((token, i) => (i === 0 ? Number.NaN : logSoftmax(wanted[i - 1]!, token)));
    const bound = boundFor("logits", "f32", { flashAttention: false, layers: spec.layers, cells: COUNT });
    expectWithin(told, surprise, bound, "log-probabilities");
  });

  it("gives the same logits however the tokens are batched", async () => {
    const { sequence } = await open(spec, { batchSize: 64 });
    const { logits } = await sequence.prefill(tokens);
    await sequence.clear();
    for (const token of tokens.slice(0, -1)) await sequence.decode(token);
    const single = await sequence.decode(tokens.at(-1)!);
    const bound = boundFor("logits", "f16", { flashAttention: true, layers: spec.layers, cells: COUNT });
    expectWithin(single, logits, bound, "one by one");
    expect(sequence.cells).toBe(COUNT);
    expect(sequence.nextPosition).toBe(COUNT);
    expect(sequence.attentionLength).toBe(256);
  });
});

it("generates greedily, and the cache holds all but the last token", async () => {
  const spec = SPECS[0]!;
  const tokens = someTokens(20, spec.vocabulary);
  const { sequence } = await open(spec);
  await sequence.prefill(tokens);
  const { tokens: generated } = await sequence.generate({ maxTokens: 12, ignoreEnd: true });
  expect(generated).toHaveLength(12);
  expect(sequence.cells).toBe(20 + 11);
  await sequence.clear();
  const rows = await sequence.evaluate([...tokens, ...generated], { logits: "all" });
  // a batch sums in another order than single tokens, so a choice may only differ where two logits nearly tie
  const bound = boundFor("logits", "f16", { flashAttention: true, layers: spec.layers, cells: 32 });
  generated.forEach((token, i) => {
    const row = rows[tokens.length - 1 + i]!;
    const tie = 2 * bound.ofBlockMax * Math.max(...row.map(Math.abs));
    expect(row[token]!).toBeGreaterThanOrEqual(Math.max(...row) - tie);
  });
});

it("repeats itself to the bit", async () => {
  const spec = SPECS[1]!;
  const tokens = someTokens(30, spec.vocabulary);
  const { sequence } = await open(spec);
  const first = await sequence.prefill(tokens);
  await sequence.clear();
  const second = await sequence.prefill(tokens);
  expect(sameBytes(first.logits, second.logits)).toBe(true);
});

function logSoftmax(logits: Float64Array, token: number): number {
  const top = Math.max(...logits);
  return logits[token]! - top - Math.log(logits.reduce((sum, value) => sum + Math.exp(value - top), 0));
}
