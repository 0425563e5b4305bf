/** Runs the passkey task on the embedded model: 4096 tokens, keys at depths from 5 to 95 per cent, one thread. */
import { resolveStrategy } from "@kvfold/core";
import { type LlamaContext, type LlamaModel, loadModel, prefillAndFold } from "@kvfold/llama";
import { nanoModelPath } from "@kvfold/model-nano";
import { createDefaultRegistry, defaultStrategy } from "@kvfold/strategies";
import { afterAll, beforeAll, vi } from "vitest";
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
/** Eight prompts of 4,096 tokens take half a minute on two quiet cores. */
vi.setConfig({ testTimeout: 600_000 });

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
  /** Expressions, or `default`, each at a ratio; all of them fold the same prompts. */
  readonly runs: readonly (readonly [expression: string, ratio: number])[];
  /** [8] */
  readonly trials?: number;
  readonly foldEvery?: number;
}

export async function measure(question: Question): Promise<PasskeyRow[]> {
  const { key, haystack, trials: count = TRIALS, foldEvery } = question;
  const sequence = context.sequence();
  const registry = createDefaultRegistry();
  const runs = await Promise.all(
    question.runs.map(async ([text, ratio]) => ({
      strategy:
        text === "default"
          ? defaultStrategy()
          : await resolveStrategy(text, registry, { cwd: process.cwd() }),
      ratio,
    })),
  );
  const trials = await runPasskey(
    { sequence, readAndFold: (tokens, options) => prefillAndFold(sequence, tokens, options) },
    {
      cases: await makePasskeyCases(model, {
        tokens: TOKENS,
        key,
        haystack,
        depths: spreadDepths(count),
        trials: count,
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
      `${haystack.kind} ${key} ${reading}: ${row.strategy} ${row.ratio}x full ${row.full} folded ${row.folded} of ${count}`,
    );
  }
  return rows;
}
