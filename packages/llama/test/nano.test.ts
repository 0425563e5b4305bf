/** A real model with a vocabulary: the one that lives in this repository. */
import { fileURLToPath } from "node:url";
import { keepPlan } from "@kvfold/core";
import { expect, it, onTestFinished } from "vitest";
import { loadModel } from "../src/index.js";
import { applied, everyNth, refused } from "./fixtures.js";

const modelPath = fileURLToPath(new URL("../../model-nano/model/kvfold-nano-8k-q8_0.gguf", import.meta.url));
const TEXT = "The quick brown fox jumps over the lazy dog, and the dog does not mind at all. ";

async function nano() {
  const model = await loadModel({ modelPath });
  onTestFinished(() => model.dispose());
  return model;
}

it("describes itself", async () => {
  const { info, addsBos, bosToken } = await nano();
  expect(info).toMatchObject({
    path: modelPath,
    architecture: "llama",
    layers: 6,
    embedding: 256,
    vocabularySize: 8192,
  });
  expect(info).toMatchObject({ trainedContext: 8192, quantization: "Q8_0", supported: true });
  expect(info.parameters).toBeGreaterThan(1e6);
  expect(addsBos).toBe(true);
  expect(bosToken).toBe(0);
});

it("turns text into tokens and back", async () => {
  const model = await nano();
  const tokens = await model.tokenize(TEXT);
  expect(tokens[0]).toBe(model.bosToken);
  expect(await model.tokenize(TEXT, { bos: false })).toEqual(tokens.slice(1));
  expect(await model.detokenize(tokens.slice(1))).toBe(TEXT);
  expect(Array.from(tokens.slice(1), (token) => model.tokenText(token)).join("")).toBe(TEXT);
  expect(await model.tokenize("", { bos: false })).toHaveLength(0);
  expect(await model.detokenize([])).toBe("");
  expect(await model.detokenize(await model.tokenize("Straße, 東京 🙂", { bos: false }))).toBe(
    "Straße, 東京 🙂",
  );
  await refused(model.tokenize(7 as never), "KVFOLD_ARGUMENT");
  const { vocabularySize } = model.info;
  for (const token of [-1, 0.5, vocabularySize])
    await refused(model.detokenize([5, token]), "KVFOLD_ARGUMENT");
});

it("finishes a text that was asked for before the model is freed", async () => {
  const model = await nano();
  const long = TEXT.repeat(500);
  const tokens = await model.tokenize(long, { bos: false });
  const reading = model.tokenize(long, { bos: false });
  const writing = model.detokenize(tokens);
  await model.dispose();
  expect(await reading).toEqual(tokens);
  expect(await writing).toBe(long);
  await refused(model.tokenize(TEXT), "KVFOLD_DISPOSED");
  await refused(model.detokenize([5]), "KVFOLD_DISPOSED");
});

it("repeats what it has read, and still does after half of it is gone", async () => {
  const model = await nano();
  const context = await model.createContext({ contextSize: 1024, threads: 1, cacheType: "q8_0" });
  onTestFinished(() => context.dispose());
  const sequence = context.sequence();
  const prompt = await model.tokenize(`${TEXT.repeat(12)}The quick brown`);
  await sequence.prefill(prompt, { signals: ["tokenLogProbs"] });
  const snapshot = await sequence.snapshot();
  const { text } = await sequence.generate({ maxTokens: 6 });
  expect(text.startsWith(" fox")).toBe(true);
  await sequence.restore(snapshot);
  const lease = await sequence.lease();
  // the first reading surprises, the last repetitions hardly do
  const surprise = lease.signals.tokenLogProbs!;
  const mean = (from: number, to: number): number =>
    surprise.slice(from, to).reduce((sum, value) => sum - value, 0) / (to - from);
  expect(mean(1, 15)).toBeGreaterThan(4 * mean(prompt.length - 40, prompt.length));
  expect(" brown".endsWith(lease.tokenText!(lease.tokens!.at(-1)!))).toBe(true);
  lease.release();
  await applied(sequence, (view) => keepPlan(view, everyNth(view.shape.cells, 2, 4, 64)));
  expect(sequence.cells).toBeLessThan(0.7 * prompt.length);
  expect((await sequence.generate({ maxTokens: 6 })).text.startsWith(" fox")).toBe(true);
});
