/** Budgets hold for a real vocabulary, and what was tokenised is what was written. */
import { type LlamaModel, loadModel } from "@kvfold/llama";
import { heldoutTextPath, nanoModelPath } from "@kvfold/model-nano";
import { afterAll, beforeAll, expect, test } from "vitest";
import { JUNK_UNIT, junkHaystack, makePasskeyCases, proseHaystack, spreadDepths } from "../src/index.js";

let model: LlamaModel;
beforeAll(async () => {
  model = await loadModel({ modelPath: nanoModelPath });
});
afterAll(async () => model?.dispose());

test.each([
  ["junk", "digits", 4096],
  ["junk", "words", 512],
  ["prose", "digits", 4096],
  ["prose", "words", 8192],
] as const)("%s, %s, %i tokens", async (name, key, tokens) => {
  const haystack = name === "junk" ? junkHaystack : await proseHaystack(heldoutTextPath);
  const cases = await makePasskeyCases(model, {
    tokens,
    key,
    haystack,
    depths: spreadDepths(4),
    trials: 4,
    seed: 3,
  });
  // junk comes in whole units; prose is cut between words, of which one may take a few tokens
  const slack = name === "junk" ? (await model.tokenize(JUNK_UNIT, { bos: false })).length : 8;
  for (const one of cases) {
    const total = one.prompt.length + one.question.length;
    expect(total).toBeLessThanOrEqual(tokens);
    expect(total).toBeGreaterThan(tokens - slack);
    expect(one.prompt[0]).toBe(model.bosToken);
    expect(await model.detokenize(one.prompt.subarray(1))).toBe(one.text);
    expect(one.text).toContain(` The pass key is ${one.key}. Remember it. ${one.key} is the pass key.`);
    const keyTokens = (await model.tokenize(` ${one.key}`, { bos: false })).length;
    expect(one.answerTokens).toBeGreaterThan(keyTokens);
  }
});
