// What the signals of a prefill cost: the nano model reads a prompt with and without them, interleaved. Medians of the
// times, and of the ratios within a round, which bear a machine that others use too.
// node scripts/time-capture.mjs [tokens] [rounds] [threads] [signal ...]
import { fileURLToPath } from "node:url";
import { loadModel } from "../dist/index.js";

const modelPath = fileURLToPath(new URL("../../model-nano/model/kvfold-nano-8k-q8_0.gguf", import.meta.url));
const [tokens = 4096, rounds = 7, threads = 1] = process.argv.slice(2, 5).map(Number);
const asked = process.argv.slice(5);
if (![tokens, rounds, threads].every((value) => Number.isInteger(value) && value > 0)) {
  console.error(
    "[kvfold] [llama] usage: node scripts/time-capture.mjs [tokens] [rounds] [threads] [signal ...]",
  );
  process.exit(1);
}

const SIGNALS = asked.length > 0 ? asked : ["queries", "tokenLogProbs", "repeat"];
const WAYS = { plain: [], ...Object.fromEntries(SIGNALS.map((signal) => [signal, [signal]])) };

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

const model = await loadModel({ modelPath });
const context = await model.createContext({ contextSize: tokens + 1024, threads });
const sequence = context.sequence();
const prompt = Array.from(
  { length: tokens },
  (_, i) => 300 + ((i * 7919) % (model.info.vocabularySize - 400)),
);
const times = Object.fromEntries(Object.keys(WAYS).map((way) => [way, []]));
for (let round = 0; round <= rounds; round++) {
  for (const [way, signals] of Object.entries(WAYS)) {
    await sequence.clear();
    const { milliseconds } = await sequence.prefill(prompt, { signals });
    // the first round warms up
    if (round > 0) times[way].push(milliseconds);
  }
}
console.log(`${model.info.name}, ${tokens} tokens, ${threads} thread(s), ${rounds} rounds, medians`);
for (const [way, values] of Object.entries(times)) {
  const [low, high] = [Math.min(...values), Math.max(...values)].map((value) => value.toFixed(0));
  const ratio = median(values.map((value, round) => value / times.plain[round])).toFixed(3);
  console.log(
    `${way.padEnd(14)} ${median(values).toFixed(0).padStart(6)} ms  x ${ratio}  (${low} to ${high})`,
  );
}
await context.dispose();
await model.dispose();
