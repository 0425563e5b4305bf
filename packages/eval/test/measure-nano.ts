/** Runs the passkey task on the embedded model: 4096 tokens, 8 keys at depths from 5 to 95 per cent, one thread. */
import { resolveStrategy } from "@kvfold/core";
import { type LlamaContext, type LlamaModel, loadModel, prefillAndFold } from "@kvfold/llama";
import { nanoModelPath } from "@kvfold/model-nano";
import { createDefaultRegistry, defaultStrategy } from "@kvfold/strategies";
import { afterAll, beforeAll } from "vitest";
import {
  type Haystack,
  type KeyKind,
  makePasskeyCases,
  type PasskeyRow,
  passkeyRows,
  runPasskey,
  spreadDepths,
} from "../src/index.js";

const TOKENS = 4096;
export const TRIALS = 8;
const SEED = 1;

let model: LlamaModel;
let context: LlamaContext;
beforeAll(async () => {
  model = await loadModel({ modelPath: nanoModelPath });
  context = await model.createContext({ contextSize: 4352, threads: 1 });
});
afterAll(async () => {
  await context?.dispose();
  await model?.dispose();
});

export interface Question {
  readonly key: KeyKind;
  readonly haystack: Haystack;
  readonly strategies: readonly string[];
  readonly ratios: readonly number[];
  readonly foldEvery?: number;
}

export async function measure({
  key,
  haystack,
  strategies,
  ratios,
  foldEvery,
}: Question): Promise<PasskeyRow[]> {
  const sequence = context.sequence();
  const registry = createDefaultRegistry();
  const plugins = await Promise.all(
    strategies.map((text) =>
      text === "default" ? defaultStrategy() : resolveStrategy(text, registry, { cwd: process.cwd() }),
    ),
  );
  const runs = plugins.flatMap((strategy) => ratios.map((ratio) => ({ strategy, ratio })));
  const trials = await runPasskey(
    { sequence, readAndFold: (tokens, options) => prefillAndFold(sequence, tokens, options) },
    {
      cases: await makePasskeyCases(model, {
        tokens: TOKENS,
        key,
        haystack,
        depths: spreadDepths(TRIALS),
        trials: TRIALS,
        seed: SEED,
      }),
      runs,
      seed: SEED,
      ...(foldEvery === undefined ? {} : { foldEvery }),
    },
  );
  const rows = passkeyRows(runs, trials);
  const reading = foldEvery === undefined ? "one-shot" : `every ${foldEvery}`;
  for (const row of rows) {
    console.log(
      `${haystack.kind} ${key} ${reading}: ${row.strategy} ${row.ratio}x full ${row.full} folded ${row.folded} of ${TRIALS}`,
    );
  }
  return rows;
}
