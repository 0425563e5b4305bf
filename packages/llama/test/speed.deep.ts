/** A fold pays: decoding over a quarter of eight thousand cells is faster than over all of them. */
import { fileURLToPath } from "node:url";
import { keepPlan } from "@kvfold/core";
import { expect, it, onTestFinished } from "vitest";
import { type LlamaSequence, loadModel } from "../src/index.js";
import { applied, everyNth, someTokens } from "./fixtures.js";

const modelPath = fileURLToPath(new URL("../../model-nano/model/kvfold-nano-8k-q8_0.gguf", import.meta.url));
const CELLS = 8000;
const TOKENS = 40;

async function perToken(sequence: LlamaSequence): Promise<number> {
  const times: number[] = [];
  for (let round = 0; round < 3; round++) {
    const { milliseconds } = await sequence.generate({ maxTokens: TOKENS, ignoreEnd: true });
    times.push(milliseconds / TOKENS);
  }
  return Math.min(...times);
}

it("makes decoding faster", async () => {
  const model = await loadModel({ modelPath });
  onTestFinished(() => model.dispose());
  const context = await model.createContext({ contextSize: 8192, threads: 1 });
  onTestFinished(() => context.dispose());
  const sequence = context.sequence();
  await sequence.prefill(someTokens(CELLS, model.info.vocabularySize));
  const full = await sequence.snapshot();
  const before = await perToken(sequence);
  await sequence.restore(full);
  const started = performance.now();
  await applied(sequence, (view) => keepPlan(view, everyNth(view.shape.cells, 4)));
  const fold = performance.now() - started;
  const after = await perToken(sequence);
  console.log({ before, after, fold, attentionLength: sequence.attentionLength });
  expect(sequence.attentionLength).toBeLessThan(2500);
  // attention is most of the work at this length; half of the gain is noise enough
  expect(after).toBeLessThan(0.67 * before);
});
