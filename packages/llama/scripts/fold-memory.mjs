// Time and memory of plan and fold after a long prompt: what the process holds at most, above what it held before.
// Linux only. The prompt is the text of the embedded model's package; past 8,192 tokens the model has not been trained.
//
//   npm run time:memory -w packages/llama -- [tokens 4096] [ratio 4]
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { fold } from "@kvfold/core";
import { refit } from "@kvfold/strategies";
import { loadModel } from "../dist/index.js";

const nano = (file) => fileURLToPath(new URL(`../../model-nano/${file}`, import.meta.url));
const [tokens, ratio] = [Number(process.argv[2] ?? 4096), Number(process.argv[3] ?? 4)];

/** MiB, of a line of the process's status. */
const status = (name) =>
  Number(readFileSync("/proc/self/status", "utf8").match(new RegExp(`${name}:\\s+(\\d+)`))[1]) / 1024;

const model = await loadModel({ modelPath: nano("model/kvfold-nano-8k-q8_0.gguf") });
const context = await model.createContext({ contextSize: tokens + 512, threads: 1 });
const sequence = context.sequence();
const prompt = (await model.tokenize(readFileSync(nano("data/heldout.txt"), "utf8"))).slice(0, tokens);
const strategy = refit();
await sequence.prefill(prompt, { signals: strategy.signals });
writeFileSync("/proc/self/clear_refs", "5"); // the peak starts again
const before = status("VmRSS");
const start = performance.now();
const report = await fold(sequence, { strategy, keep: { ratio } });
const seconds = (performance.now() - start) / 1000;
const mebibytes = status("VmHWM") - before;
console.log(
  `${prompt.length} -> ${report.plan.rows} cells: ${seconds.toFixed(1)} s, ${mebibytes.toFixed(0)} MiB`,
);
await context.dispose();
await model.dispose();
