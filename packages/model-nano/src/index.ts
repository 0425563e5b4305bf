/** Paths of the embedded model and of the text that it never saw in training. */
import { fileURLToPath } from "node:url";

/** The GGUF file of kvfold-nano-8k in q8_0: 6 layers, 2 KV heads of 64 channels, context 8192. */
export const nanoModelPath: string = fileURLToPath(
  new URL("../model/kvfold-nano-8k-q8_0.gguf", import.meta.url),
);

/** *Persuasion* by Jane Austen (public domain, UTF-8), held out of the training text: a haystack of prose. */
export const heldoutTextPath: string = fileURLToPath(new URL("../data/heldout.txt", import.meta.url));
