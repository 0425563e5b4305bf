// Where the time of a fold goes, against the prefill before it: refit at several ratios, and evict. Interleaved rounds,
// each with a prefill of its own; medians of the times, and of the shares of the prefill of the same round. The prompt is
// the repository's own documents. Other: choosing cells, the plan and its checks, all of it in JavaScript.
//
//   node scripts/time-fold.mjs [--model nano|FILE] [--tokens 4096] [--rounds 10] [--threads 1] [--ratios 2,4,8]
//                              [--max-rows 4096] [--fit-rows 2112] [--processor]
//
// --processor counts the time of the processor in place of that of the wall, for a machine that others use too.
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { fold } from "@kvfold/core";
import { evict, refit } from "@kvfold/strategies";
import { loadModel } from "../dist/index.js";

const { values: given } = parseArgs({
  options: {
    model: { type: "string", default: "nano" },
    tokens: { type: "string", default: "4096" },
    rounds: { type: "string", default: "10" },
    threads: { type: "string", default: "1" },
    ratios: { type: "string", default: "2,4,8" },
    "max-rows": { type: "string", default: "4096" },
    "fit-rows": { type: "string", default: "2112" },
    processor: { type: "boolean", default: false },
  },
});
const [tokens, rounds, threads, maxRows, fitRows] = [
  given.tokens,
  given.rounds,
  given.threads,
  given["max-rows"],
  given["fit-rows"],
].map(Number);
const ratios = given.ratios.split(",").map(Number);
const nano = fileURLToPath(new URL("../../model-nano/model/kvfold-nano-8k-q8_0.gguf", import.meta.url));
const modelPath = given.model === "nano" ? nano : given.model;

const root = fileURLToPath(new URL("../../../", import.meta.url));
const documents = () =>
  ["", "docs/", "docs/guide/"]
    .flatMap((folder) => readdirSync(root + folder).map((file) => folder + file))
    .filter((file) => file.endsWith(".md"))
    .sort()
    .map((file) => readFileSync(root + file, "utf8"))
    .join("\n");

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

/** Milliseconds. */
function now() {
  if (!given.processor) return performance.now();
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e3;
}

/** The cache with a stopwatch around its operations. */
function watched(sequence) {
  const spent = { attend: 0, keyStats: 0, fold: 0 };
  const watch =
    (name, work) =>
    async (...given) => {
      const start = now();
      const result = await work(...given);
      spent[name] += now() - start;
      return result;
    };
  const { ops } = sequence;
  const watchedOps = {
    ...ops,
    attend: watch("attend", ops.attend),
    keyStats: watch("keyStats", ops.keyStats),
  };
  const cache = Object.defineProperties(
    {},
    {
      ...Object.getOwnPropertyDescriptors(sequence),
      ops: { value: watchedOps },
      apply: { value: watch("fold", sequence.apply) },
    },
  );
  return { cache, spent };
}

const model = await loadModel({ modelPath });
const context = await model.createContext({ contextSize: tokens + 1024, threads });
const sequence = context.sequence();
const text = documents();
const once = await model.tokenize(text);
const prompt = Array.from({ length: tokens }, (_, i) => once[i % once.length]);
const signals = ["queries"];

async function read() {
  await sequence.clear();
  const start = now();
  await sequence.prefill(prompt, { signals });
  return now() - start;
}

const WAYS = [
  ...ratios.map((ratio) => ({ name: `refit ${ratio}x`, strategy: refit({ maxRows, fitRows }), ratio })),
  { name: "evict 4x", strategy: evict(), ratio: 4 },
];
const PARTS = ["prefill", "attend", "keyStats", "other", "fold", "all"];
const times = WAYS.map(() => Object.fromEntries(PARTS.map((part) => [part, []])));
for (let round = 0; round <= rounds; round++) {
  const prefill = await read();
  const snapshot = await sequence.snapshot();
  for (const [way, { strategy, ratio }] of WAYS.entries()) {
    const { cache, spent } = watched(sequence);
    const start = now();
    await fold(cache, { strategy, keep: { ratio } });
    const all = now() - start;
    const found = { prefill, ...spent, other: all - spent.attend - spent.keyStats - spent.fold, all };
    // the first round warms up
    if (round > 0) for (const part of PARTS) times[way][part].push(found[part]);
    await sequence.restore(snapshot);
  }
}
const clock = given.processor ? "processor" : "wall";
console.log(
  `${model.info.name}, ${tokens} tokens, ${threads} thread(s), maxRows ${maxRows}, fitRows ${fitRows}, ${rounds} rounds, medians in ms (${clock})`,
);
console.log(["", ...PARTS, "of prefill"].map((word) => word.padStart(10)).join(" "));
for (const [way, { name }] of WAYS.entries()) {
  const cells = PARTS.map((part) => median(times[way][part]).toFixed(0));
  const share = median(times[way].all.map((value, round) => value / times[way].prefill[round]));
  console.log([name, ...cells, `${(share * 100).toFixed(1)} %`].map((word) => word.padStart(10)).join(" "));
}
await context.dispose();
await model.dispose();
