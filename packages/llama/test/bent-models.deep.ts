/** Model files with bent headers: an error with a code or a working model, never a crash or a hang. */
import { createRandom, KvfoldError } from "@kvfold/core";
import { expect, it } from "vitest";
import { loadModel } from "../src/index.js";
import { tinyModelFile } from "../src/tiny-model/tiny-model.js";
import { LLAMA, temporaryFile } from "./fixtures.js";

const FILE = tinyModelFile({ ...LLAMA, layers: 1 });
const HEADER = 2200;

it("survives 400 bent headers", async () => {
  const random = createRandom(11);
  const outcomes = new Map<string, number>();
  for (let i = 0; i < 400; i++) {
    const bytes = Buffer.from(FILE);
    for (let bend = 0; bend <= random() * 3; bend++)
      bytes[Math.floor(random() * HEADER)] = Math.floor(random() * 256);
    const path = await temporaryFile(bytes, `bent-${i}.gguf`);
    const outcome = await use(path).then(
      () => "works",
      (error: unknown) => {
        expect(error, `file ${i}: ${String((error as Error).stack)}`).toBeInstanceOf(KvfoldError);
        return (error as KvfoldError).code;
      },
    );
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
  }
  console.log(Object.fromEntries(outcomes));
  expect(outcomes.get("KVFOLD_MODEL_FILE")).toBeGreaterThan(50);
});

async function use(modelPath: string): Promise<void> {
  const model = await loadModel({ modelPath });
  try {
    const context = await model.createContext({ contextSize: 256, threads: 1 });
    try {
      await context.sequence().prefill([1, 2, 3]);
    } finally {
      await context.dispose();
    }
  } finally {
    await model.dispose();
  }
}
