/** A small grid on the embedded model: one prefill for all strategies, signals included, and no loss without a fold. */
import { resolveStrategy } from "@kvfold/core";
import { type LlamaContext, type LlamaModel, loadModel } from "@kvfold/llama";
import { heldoutTextPath, nanoModelPath } from "@kvfold/model-nano";
import { createDefaultRegistry } from "@kvfold/strategies";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  evalRow,
  type GridEvent,
  type KlRow,
  klPart,
  makeKlWindows,
  openResults,
  readText,
  runGrid,
} from "../src/index.js";

const TOKENS = 512;
let model: LlamaModel;
let context: LlamaContext;
beforeAll(async () => {
  model = await loadModel({ modelPath: nanoModelPath });
  context = await model.createContext({ contextSize: TOKENS + 600, threads: 1 });
});
afterAll(async () => {
  await context?.dispose();
  await model?.dispose();
});

test("divergences of the strategies, in their known order", async () => {
  const text = await readText(heldoutTextPath, "the text");
  const windows = await makeKlWindows(model, {
    text,
    name: "held-out",
    tokens: TOKENS,
    windows: 2,
    window: 48,
  });
  expect(windows[0]!.context[0]).toBe(model.bosToken);
  const registry = createDefaultRegistry();
  const small = "sinks=4,recent=32";
  const expressions = ["mean", `evict(by=keydiff,per=head,${small})`, `refit(queries=repeat,${small})`];
  const runs = await Promise.all(
    [...expressions, "mean"].map(async (expression, index) => ({
      strategy: await resolveStrategy(expression, registry, { cwd: process.cwd() }),
      ratio: index === 3 ? 1 : 4,
    })),
  );
  const events: GridEvent[] = [];
  const conditions = { seed: 1 };
  const group = { task: "kl", model: "nano", tokens: TOKENS, labels: {}, conditions } as const;
  const part = klPart({ sequence: context.sequence() }, { group, windows, seed: 1 });
  await runGrid({ parts: [part], runs, results: openResults(), onEvent: (event) => events.push(event) });
  const tables = events.flatMap((event) => (event.type === "part" ? [event.cells] : []));
  const [mean, evict, refit, whole] = tables[0]!.map((cells) => evalRow(cells) as KlRow);
  // a cache that is put back, and not folded, says what it said
  expect(whole!.kl.mean).toBe(0);
  expect(whole!.top1).toBe(1);
  expect(evict!.kl.mean).toBeGreaterThan(0);
  expect(evict!.kl.mean).toBeLessThan(mean!.kl.mean);
  expect(refit!.kl.mean).toBeLessThan(mean!.kl.mean);
  expect(mean!.top1).toBeLessThan(evict!.top1);
  for (const row of [mean!, evict!, refit!]) {
    expect(row.windows).toBe(2);
    expect(row.kl.p50).toBeLessThanOrEqual(row.kl.p95);
    expect(row.kl.p95).toBeLessThanOrEqual(row.kl.p99);
  }
});
