// Writes the tokens of a text as 32-bit integers, for fold_lab.py: node docs/lab/write_tokens.mjs MODEL.gguf TEXT OUT
import { readFileSync, writeFileSync } from "node:fs";
import { loadModel } from "kvfold";

const [modelPath, text, out] = process.argv.slice(2);
if (out === undefined) {
  console.error("usage: node docs/lab/write_tokens.mjs MODEL.gguf TEXT OUT");
  process.exit(2);
}
const model = await loadModel({ modelPath });
const start = await model.tokenize("", { bos: true });
const tokens = await model.tokenize(readFileSync(text, "utf8"), { bos: false });
writeFileSync(out, Int32Array.from([...start, ...tokens]));
await model.dispose();
