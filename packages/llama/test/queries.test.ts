/** Queries sampled while a prompt is read: the right numbers, a fair choice, a bound, and nothing else changes. */
import { decodeF16, type QuerySample } from "@kvfold/core";
import { addBounds, boundFor, expectWithin } from "@kvfold/testkit";
import { describe, expect, it } from "vitest";
import type { LlamaSequence } from "../src/index.js";
import { stateOf } from "../src/sequence/sequence.js";
import type { TinyModelSpec } from "../src/tiny-model/tiny-model.js";
import { CACHES, cacheName, GEMMA, LLAMA, open, SPECS, sameBytes, someTokens } from "./fixtures.js";
import { referenceModel } from "./reference/forward.js";

const COUNT = 40;
const SEEDS = 60;
const BINS = 16;
/** 15 degrees of freedom: a fair choice exceeds it once in a thousand seeds, and the seeds are fixed. */
const CHI_SQUARE_LIMIT = 37.7;
const ONE_LAYER: TinyModelSpec = { ...LLAMA, layers: 1 };

export async function sampleOf(sequence: LlamaSequence): Promise<QuerySample | null> {
  const lease = await sequence.lease();
  lease.release();
  return lease.signals.queries;
}

/** The queries of one sample of one layer. [heads, keyDim] */
const rowOf = (sample: QuerySample, layer: number, index: number): Float32Array => {
  const rows = sample.layers[layer]!.rows;
  const width = rows.length / sample.positions.length;
  return Float32Array.from(rows.subarray(index * width, (index + 1) * width), decodeF16);
};

describe.each(SPECS)("of $architecture", (spec) => {
  const tokens = someTokens(COUNT, spec.vocabulary);
  const wanted: Float64Array[][] = Array.from({ length: spec.layers }, () => []);
  referenceModel(spec).fromTokens(tokens, (layer, position, queries) => {
    wanted[layer]![position] = queries;
  });

  it.each(CACHES)("are those of the model ($cacheType, flash attention $flashAttention)", async (cache) => {
    const { sequence } = await open(spec, { ...cache, batchSize: 16 });
    await sequence.prefill(tokens, { signals: ["queries"] });
    const sample = (await sampleOf(sequence))!;
    expect([...sample.positions].sort((a, b) => a - b)).toEqual([...tokens.keys()]);
    expect(sample.layers).toHaveLength(spec.layers);
    sample.layers.forEach((layer, index) => {
      expect(layer).toMatchObject({ heads: spec.heads, scale: Math.fround(1 / Math.sqrt(spec.headDim)) });
      // what lies before the first layer has read no cache
      const type = index === 0 ? "f32" : cache.cacheType!;
      const options = { flashAttention: cache.flashAttention === "on", layers: index + 1, cells: COUNT };
      const bound = addBounds(boundFor("logits", type, options), boundFor("store", "f16"));
      sample.positions.forEach((position, i) => {
        const name = `${cacheName(cache)}, layer ${index}, position ${position}`;
        expectWithin(rowOf(sample, index, i), wanted[index]![position]!, bound, name);
      });
    });
  });

  it.each(CACHES)("leave logits and cache as they are ($cacheType, $flashAttention)", async (cache) => {
    const { sequence } = await open(spec, { ...cache, batchSize: 16 });
    const plain = await sequence.prefill(tokens);
    const bytes = await sequence.stateBytes();
    const next = await sequence.decode(5);
    await sequence.clear();
    const sampled = await sequence.prefill(tokens, { signals: ["queries"] });
    expect(sameBytes(sampled.logits, plain.logits)).toBe(true);
    expect(sameBytes(await sequence.stateBytes(), bytes)).toBe(true);
    expect(sameBytes(await sequence.decode(5), next)).toBe(true);
  });
});

it("carry the scale that a model multiplies its queries with before the attention", async () => {
  const { sequence } = await open(GEMMA);
  await sequence.prefill(someTokens(COUNT, GEMMA.vocabulary), { signals: ["queries"] });
  const sample = (await sampleOf(sequence))!;
  // only the global layer is of the view
  expect(sample.layers).toHaveLength(sequence.shape.layers.length);
  for (const layer of sample.layers) expect(layer!.scale).toBeCloseTo(1 / Math.sqrt(GEMMA.headDim), 6);
});

describe("the choice", () => {
  const tokens = someTokens(600, ONE_LAYER.vocabulary);

  it("is bounded, and the same however the tokens are batched or parted", async () => {
    const { sequence } = await open(ONE_LAYER, { batchSize: 512 });
    const asked = { signals: ["queries"], queryRows: 64 } as const;
    await sequence.prefill(tokens, asked);
    const whole = (await sampleOf(sequence))!;
    // two query heads a KV head
    expect(whole.positions).toHaveLength(32);
    expect(whole.layers[0]!.rows).toHaveLength(32 * ONE_LAYER.heads * ONE_LAYER.headDim);
    expect(new Set(whole.positions).size).toBe(32);
    await sequence.clear();
    await sequence.prefill(tokens.slice(0, 333), asked);
    for (const token of tokens.slice(333, 340)) await sequence.decode(token);
    await sequence.evaluate(tokens.slice(340, 350), { logits: "all" });
    await sequence.prefill(tokens.slice(350));
    const parted = (await sampleOf(sequence))!;
    expect(parted.positions).toEqual(whole.positions);
    const bound = addBounds(
      boundFor("logits", "f32", { flashAttention: true, layers: 1, cells: 600 }),
      boundFor("store", "f16"),
    );
    whole.positions.forEach((_, i) => {
      expectWithin(rowOf(parted, 0, i), rowOf(whole, 0, i), bound, `sample ${i}`);
    });
  });

  it.each([0, 16])("keeps the newest %i, and of the others in proportion to their place", async (newest) => {
    const { sequence, context } = await open(ONE_LAYER, { batchSize: 256 });
    const { addon, handle } = stateOf(sequence).context;
    const older = 256 - newest;
    const [all, first] = [new Uint32Array(BINS), new Uint32Array(BINS)];
    let newestFirst = 0;
    for (let seed = 0; seed < SEEDS; seed++) {
      const queries = addon.startQueries(handle, {
        ...{ maxPositions: 32, maxBytes: 2 ** 20, newest, seed: seed * 1000, layers: Uint32Array.of(0) },
      });
      const job = { sequence: 0, start: 0, logits: 0, logProbs: false, previous: null } as const;
      await addon.decode(handle, { ...job, tokens: Int32Array.from(tokens.slice(0, 256)), queries });
      addon.removeRange(handle, 0, -1, -1);
      const { positions } = await addon.takeQueries(queries);
      expect(new Set(positions).size).toBe(32);
      expect(positions.filter((position) => position >= older)).toHaveLength(newest);
      positions.forEach((position, i) => {
        if (position >= older) {
          if (i < 16) newestFirst += 1;
          return;
        }
        const bin = Math.floor((position / older) * BINS);
        all[bin]! += 1;
        if (i < 16) first[bin]! += 1;
      });
    }
    expect(context.supported).toBe(true);
    for (const counts of [all, first]) {
      const total = counts.reduce((sum, count) => sum + count, 0);
      const chiSquare = counts.reduce((sum, count, bin) => {
        const wanted = (total * (2 * bin + 1)) / BINS ** 2;
        return sum + (count - wanted) ** 2 / wanted;
      }, 0);
      expect(chiSquare).toBeLessThan(CHI_SQUARE_LIMIT);
    }
    // half of each half, within four standard deviations of drawing 16 of 32
    if (newest > 0) {
      expect(Math.abs(newestFirst / SEEDS - newest / 2)).toBeLessThan((4 * 2.03) / Math.sqrt(SEEDS));
    }
  });

  it("keeps the newest half, whatever was read before", async () => {
    const { sequence } = await open(ONE_LAYER, { batchSize: 64 });
    await sequence.prefill(tokens, { signals: ["queries"], queryRows: 64 });
    const positions = [...(await sampleOf(sequence))!.positions];
    expect(positions.filter((position) => position >= 600 - 16)).toHaveLength(16);
    expect(new Set(positions).size).toBe(32);
  });
});
