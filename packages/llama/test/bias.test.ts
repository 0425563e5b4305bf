/** The bias of cells on the live engine: n copies weigh as one with ln n, it never leaks, and it never grows stale. */
import { type CacheView, PLAN_VERSION, type SharedPlan } from "@kvfold/core";
import { boundFor, expectWithin } from "@kvfold/testkit";
import { describe, expect, it } from "vitest";
import { stateOf } from "../src/sequence/sequence.js";
import { applied, CACHES, LLAMA, open, pairs, sameBytes, someTokens } from "./fixtures.js";

/** In one layer, keys before rotation and values depend on the token alone, so equal tokens are copies. */
const ONE_LAYER = { ...LLAMA, layers: 1 };
const COPIES = 24;
const BEFORE = 10;
const AFTER = 6;
const CELLS = BEFORE + COPIES + AFTER;
const TOKENS = [
  ...someTokens(BEFORE, ONE_LAYER.vocabulary, 1),
  ...Array<number>(COPIES).fill(5),
  ...someTokens(AFTER, ONE_LAYER.vocabulary, 2),
];

/** All copies go to the position of the last one: as rows of their own, or as one row. */
function gathered(view: CacheView, asOne: boolean, bias: number): SharedPlan {
  const rows: number[][] = [];
  for (let cell = 0; cell < CELLS; cell++) {
    const copy = cell > BEFORE && cell < BEFORE + COPIES;
    if (asOne && copy) rows.at(-1)!.push(cell);
    else rows.push([cell]);
  }
  const isCopy = (cell: number): boolean => cell >= BEFORE && cell < BEFORE + COPIES;
  const ones = rows.flatMap((row) => row.map(() => 1 / row.length));
  const offsets = [0];
  for (const row of rows) offsets.push(offsets.at(-1)! + row.length);
  return {
    version: PLAN_VERSION,
    layout: "shared",
    cells: CELLS,
    rows: rows.length,
    offsets: Uint32Array.from(offsets),
    members: Uint32Array.from(rows.flat()),
    keyWeights: { scope: "all", data: Float32Array.from(ones) },
    valueWeights: { scope: "all", data: Float32Array.from(ones) },
    keyFrame: "target",
    positions: Int32Array.from(rows, (row) =>
      isCopy(row[0]!) ? BEFORE + COPIES - 1 : view.positions[row[0]!]!,
    ),
    counts: Uint32Array.from(rows, (row) => row.length),
    dropped: 0,
    bias: bias === 0 ? null : Float32Array.from(rows, (row) => (row.length > 1 ? bias : 0)),
    pins: null,
    fit: null,
    values: null,
  };
}

describe.each(CACHES)("$cacheType, flash attention $flashAttention", (cache) => {
  it("weighs one cell with ln n as n copies of it", async () => {
    const { context } = await open(ONE_LAYER, { ...cache, sequences: 3 });
    const logitsAfter = async (id: number, asOne: boolean, bias: number): Promise<Float32Array[]> => {
      const sequence = context.sequence(id);
      await sequence.prefill(TOKENS);
      await applied(sequence, (view) => gathered(view, asOne, bias));
      expect(sequence.cells).toBe(asOne ? CELLS - COPIES + 1 : CELLS);
      const several = await sequence.evaluate(someTokens(5, ONE_LAYER.vocabulary, 3), { logits: "all" });
      return [...several, await sequence.decode(8)];
    };
    const copies = await logitsAfter(0, false, 0);
    const biased = await logitsAfter(1, true, Math.log(COPIES));
    const bare = await logitsAfter(2, true, 0);
    const bound = boundFor("logits", cache.cacheType!, {
      flashAttention: cache.flashAttention === "on",
      layers: 1,
      cells: CELLS + 6,
      maxBias: Math.log(COPIES),
    });
    copies.forEach((row, i) => {
      expectWithin(biased[i]!, row, bound, `token ${i}`);
      expect(() => expectWithin(bare[i]!, row, bound, "without bias")).toThrow("out of bounds");
    });
  });
});

it.each([{ unified: true }, { unified: false }])(
  "keeps the bias of one sequence from another ($unified)",
  async (layout) => {
    const { context } = await open(LLAMA, { ...layout, sequences: 2 });
    const [folded, other] = [context.sequence(0), context.sequence(1)];
    const tokens = someTokens(60, LLAMA.vocabulary);
    await other.prefill(tokens);
    const snapshot = await other.snapshot();
    const plain = await other.decode(4);
    await other.restore(snapshot);
    await folded.prefill(tokens);
    await applied(folded, (view) => pairs(view));
    expect(sameBytes(await other.decode(4), plain)).toBe(true);
  },
);

it("rewrites the mask only while some cell has a bias", async () => {
  const { sequence } = await open(LLAMA);
  const { addon, handle } = stateOf(sequence).context;
  await sequence.prefill(someTokens(40, LLAMA.vocabulary));
  expect(addon.biasRewrites(handle)).toBe(0);
  const snapshot = await sequence.snapshot();
  const plain = await sequence.decode(1);
  await sequence.restore(snapshot);
  await applied(sequence, (view) => pairs(view));
  await sequence.decode(1);
  expect(addon.biasRewrites(handle)).toBe(1);
  // batches go through the mask once, whatever their length
  await sequence.evaluate(someTokens(20, LLAMA.vocabulary), { logits: "last" });
  expect(addon.biasRewrites(handle)).toBe(2);
  await sequence.restore(snapshot);
  expect(sameBytes(await sequence.decode(1), plain)).toBe(true);
  expect(addon.biasRewrites(handle)).toBe(2);
});

it("leaves no bias on cells that are used again", async () => {
  const { sequence } = await open(LLAMA);
  const tokens = someTokens(40, LLAMA.vocabulary);
  await sequence.prefill(tokens);
  const plain = await sequence.decode(1);
  await sequence.clear();
  await sequence.prefill(tokens);
  await applied(sequence, (view) => pairs(view));
  await sequence.clear();
  await sequence.prefill(tokens);
  expect(sameBytes(await sequence.decode(1), plain)).toBe(true);
});
