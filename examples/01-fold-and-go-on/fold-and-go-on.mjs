// Reads a long text into the cache of the embedded model, folds it to a quarter in place, and goes on decoding.
import { readFile } from "node:fs/promises";
import { defaultStrategy, fold, heldoutTextPath, loadModel, nanoModelPath } from "kvfold";

const RATIO = 4;
const TOKENS = 3000;

const model = await loadModel({ modelPath: nanoModelPath });
const context = await model.createContext({ contextSize: 4096 });
const sequence = context.sequence();

// a chapter of a novel, and one sentence in it that matters
const text = await readFile(heldoutTextPath, "utf8");
const start = (await model.tokenize(text)).subarray(0, TOKENS / 3);
const note = await model.tokenize(" The pass key is 71406. Remember it. 71406 is the pass key.", {
  bos: false,
});
const rest = (await model.tokenize(text.slice(40_000), { bos: false })).subarray(0, (TOKENS * 2) / 3);
const strategy = defaultStrategy();
await sequence.prefill(Int32Array.from([...start, ...note, ...rest]), { signals: strategy.signals });

const report = await fold(sequence, { strategy, keep: { ratio: RATIO } });
console.log(
  `${report.strategy}: ${report.before} -> ${report.after} cells, ${report.bytesFreed} bytes freed`,
);

// the cache is an ordinary one: read on, decode on
await sequence.prefill(await model.tokenize(" What is the pass key? The pass key is", { bos: false }));
const answer = await sequence.generate({ maxTokens: 8 });
console.log(`The pass key is${answer.text}`);

await context.dispose();
await model.dispose();
