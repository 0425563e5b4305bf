/** Folding while the prompt is being read. */
import { type CacheView, keepPlan, type MergeStrategy, type PlanContext } from "@kvfold/core";
import { evict } from "@kvfold/strategies";
import { boundFor, expectWithin, shared } from "@kvfold/testkit";
import { describe, expect, it } from "vitest";
import { prefillAndFold } from "../src/index.js";
import { everyNth, LLAMA, open, someTokens } from "./fixtures.js";
import { referenceModel } from "./reference/forward.js";
import { readCache } from "./reference/read-rows.js";

function strategy(
  scope: "new" | "all",
  plan: (view: CacheView, context: PlanContext) => ReturnType<MergeStrategy["plan"]>,
): MergeStrategy {
  return { name: "test", expression: "test", signals: ["tokenLogProbs"], scope, appliesTo: () => true, plan };
}

/** Neighbours of the range become their mean at squeezed positions, as in the flow of PR 5719. */
const squeezeNew = (factor: number): MergeStrategy =>
  strategy("new", (view, { range }) => {
    const group = Array.from({ length: view.shape.cells }, (_, cell) =>
      cell < range.from ? cell : range.from + Math.floor((cell - range.from) / factor),
    );
    return shared(view, { group, adjacent: true });
  });

const keepBudget = strategy("all", (view, { target }) => {
  const { cells } = view.shape;
  const recent = Math.floor(target / 2);
  const step = Math.ceil((cells - recent) / (target - recent));
  return keepPlan(view, everyNth(cells, step, 0, recent).slice(-target));
});

describe("prefillAndFold", () => {
  const tokens = someTokens(400, LLAMA.vocabulary);

  it("squeezes only what is new, and keeps the peak low", async () => {
    const { sequence } = await open(LLAMA, { contextSize: 256 });
    const ranges: number[] = [];
    const report = await prefillAndFold(sequence, tokens, {
      every: 64,
      strategy: squeezeNew(4),
      ratio: 4,
      onFold: ({ before, after }) => ranges.push(before - after),
    });
    expect(report.tokens).toBe(400);
    // the rest of 16 tokens is folded too
    expect(ranges).toEqual([...Array<number>(6).fill(48), 12]);
    expect(report.folds).toHaveLength(7);
    expect(sequence.cells).toBe(6 * 16 + 4);
    expect(sequence.tokensSeen).toBe(400);
    // the prompt would not have fitted in one piece
    expect(report.peakCells).toBe(5 * 16 + 64);
    expect(sequence.nextPosition).toBe(400);
    const logits = await sequence.decode(3);
    const bound = boundFor("logits", "f16", { flashAttention: true, layers: LLAMA.layers, cells: 101 });
    expectWithin(
      logits,
      referenceModel(LLAMA).attendOver(3, 400, await readCache(sequence)),
      bound,
      "after six folds",
    );
  });

  it("selects from everything against a growing budget", async () => {
    const { sequence } = await open(LLAMA);
    const sizes: number[] = [];
    await prefillAndFold(sequence, tokens, {
      every: 100,
      strategy: keepBudget,
      ratio: 4,
      onFold: (report) => sizes.push(report.after),
    });
    expect(sizes).toHaveLength(4);
    sizes.forEach((size, i) => {
      expect(size).toBeLessThanOrEqual(25 * (i + 1));
    });
    const lease = await sequence.lease();
    expect(lease.signals.tokenLogProbs).not.toBeNull();
    lease.release();
  });

  it("waits while the budget does not hold the pins, and says so only at the end", async () => {
    const { sequence } = await open(LLAMA);
    const folds: number[] = [];
    const pinned = evict({ sinks: 4, recent: 40 });
    await prefillAndFold(sequence, tokens, {
      every: 100,
      strategy: pinned,
      ratio: 4,
      onFold: (report) => folds.push(report.before),
    });
    // 100 tokens would have to become 25 cells
    expect(folds[0]).toBe(200);
    await sequence.clear();
    const short = prefillAndFold(sequence, tokens.slice(0, 120), { every: 100, strategy: pinned, ratio: 4 });
    await expect(short).rejects.toMatchObject({ code: "KVFOLD_BUDGET" });
  });

  it("refuses odd arguments, and stops at an abort between folds", async () => {
    const { sequence } = await open(LLAMA);
    const good = { strategy: squeezeNew(2), ratio: 2 };
    for (const every of [0, -1, 1.5, Number.NaN]) {
      await expect(prefillAndFold(sequence, tokens, { ...good, every })).rejects.toMatchObject({
        code: "KVFOLD_ARGUMENT",
      });
    }
    await expect(prefillAndFold(sequence, [], { ...good, every: 8 })).rejects.toMatchObject({
      code: "KVFOLD_ARGUMENT",
    });
    await expect(prefillAndFold(sequence, tokens, { ...good, ratio: 0.5, every: 64 })).rejects.toMatchObject({
      code: "KVFOLD_RATIO",
    });
    await sequence.clear();
    const controller = new AbortController();
    const run = prefillAndFold(sequence, tokens, {
      ...good,
      every: 64,
      signal: controller.signal,
      onFold: () => controller.abort(),
    });
    await expect(run).rejects.toMatchObject({ code: "KVFOLD_ABORTED" });
    expect(sequence.cells).toBe(32);
  });
});
