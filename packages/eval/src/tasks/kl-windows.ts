/** Cuts a text into windows: a context that is folded, and the tokens after it on which the model is compared. */
import { KvfoldError } from "@kvfold/core";
import type { Tokenizer } from "./passkey-cases.js";

export interface KlWindowOptions {
  readonly text: string;
  /** What errors call the text. */
  readonly name: string;
  /** Tokens of the context, the first token of the model's texts included. */
  readonly tokens: number;
  /** Windows, spread over the text. */
  readonly windows: number;
  /** Tokens that are compared after each context. */
  readonly window: number;
}

export interface KlWindow {
  readonly index: number;
  /** Token of the text at which the context begins. */
  readonly start: number;
  /** What is read before the fold. */
  readonly context: Int32Array;
  /** What is read after it, and one more token, which is only predicted. [window + 1] */
  readonly next: Int32Array;
}

/**
 * Windows at even distances, the first at the start of the text and the last at its end; a single one stands in the
 * middle. Contexts may overlap in a short text, what is compared may not.
 *
 *     text     |---------------------------------------|
 *     window 0 [context][next]
 *     window 1              [context][next]
 *     window 2                          [context][next]
 *
 * @throws KvfoldError KVFOLD_FILE when the text is too short
 */
export async function makeKlWindows(tokenizer: Tokenizer, options: KlWindowOptions): Promise<KlWindow[]> {
  const { tokens, windows, window } = options;
  const start = await tokenizer.tokenize("", { bos: true });
  const all = await tokenizer.tokenize(options.text, { bos: false });
  const read = tokens - start.length;
  if (read < 1) {
    throw new KvfoldError("KVFOLD_ARGUMENT", `a context of ${tokens} tokens holds no text`, {
      who: "kl",
      hint: `give more than ${start.length}`,
    });
  }
  const room = all.length - (read + window + 1);
  const most = room < 0 ? 0 : 1 + Math.floor(room / window);
  if (windows > most) {
    throw new KvfoldError("KVFOLD_FILE", `the text ${JSON.stringify(options.name)} is too short`, {
      who: "kl",
      hint: `its ${all.length} tokens have room for ${most} windows of ${window} tokens after ${tokens}; give a longer text or ask for less`,
    });
  }
  return Array.from({ length: windows }, (_, index) => {
    const from = windows === 1 ? room >> 1 : Math.round((room * index) / (windows - 1));
    const context = new Int32Array(tokens);
    context.set(start);
    context.set(all.subarray(from, from + read), start.length);
    return { index, start: from, context, next: all.slice(from + read, from + read + window + 1) };
  });
}
