// node docs/lab/write_passkeys.mjs MODEL.gguf TOKENS TRIALS SEED OUT.json HAYSTACK...
// Passkey cases as `kvfold eval passkey` makes them, digits and words, as token ids: what fold_lab.py asks. A haystack is a
// text file, or junk.
import { writeFileSync } from "node:fs";
import { basename } from "node:path";
import { junkHaystack, makePasskeyCases, proseHaystack, spreadDepths } from "@kvfold/eval";
import { loadModel } from "@kvfold/llama";

const [modelPath, tokens, trials, seed, out, ...haystacks] = process.argv.slice(2);
if (haystacks.length === 0) {
  throw new Error("usage: write_passkeys.mjs MODEL.gguf TOKENS TRIALS SEED OUT.json HAYSTACK...");
}
const model = await loadModel({ modelPath });
const cases = [];
for (const name of haystacks) {
  const haystack = name === "junk" ? junkHaystack : await proseHaystack(name);
  for (const key of ["digits", "words"]) {
    const asked = { tokens: Number(tokens), key, haystack, depths: spreadDepths(Number(trials)) };
    for (const one of await makePasskeyCases(model, {
      ...asked,
      trials: Number(trials),
      seed: Number(seed),
    })) {
      cases.push({
        haystack: basename(name),
        key,
        index: one.index,
        prompt: [...one.prompt],
        question: [...one.question],
        answer: [...(await model.tokenize(` ${one.key}`, { bos: false }))],
      });
    }
  }
}
writeFileSync(out, JSON.stringify(cases));
await model.dispose();
