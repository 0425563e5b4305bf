/** Makes the prompts of the passkey task: a key hidden at a depth of a haystack, within an exact budget of tokens. */
import { createRandom, KvfoldError } from "@kvfold/core";
import type { Haystack } from "../haystack.js";
import { KEY_WORDS } from "../words.js";

/** What a task needs of a vocabulary. */
export interface Tokenizer {
  tokenize(
    text: string,
    options?: { readonly special?: boolean; readonly bos?: boolean },
  ): Promise<Int32Array>;
}

export type KeyKind = "digits" | "words";

export interface PasskeyCaseOptions {
  /** Most tokens of the whole prompt: introduction, haystack, needle and question. */
  readonly tokens: number;
  readonly key: KeyKind;
  readonly haystack: Haystack;
  /** Where the needle stands, in per cent of the haystack; trial i takes `depths[i % depths.length]`. */
  readonly depths: readonly number[];
  readonly trials: number;
  readonly seed: number;
}

/** One prompt. The question is read after the fold, so that no strategy can know it. */
export interface PasskeyCase {
  readonly index: number;
  /** Per cent of the haystack before the needle, as asked for. */
  readonly depth: number;
  readonly key: string;
  /** Introduction, haystack and needle, as text. */
  readonly text: string;
  /** The same as tokens, with the model's first token. */
  readonly prompt: Int32Array;
  readonly question: Int32Array;
  /** Tokens that an answer may have: those of the key and a few more, to see whether it ends there. */
  readonly answerTokens: number;
}

/** The wording of llama.cpp's `examples/passkey`. */
const INTRODUCTION =
  "There is an important info hidden inside a lot of irrelevant text. Find it and memorize them. " +
  "I will quiz you about the important information there.";
const QUESTION = " What is the pass key? The pass key is";
const needleOf = (key: string): string => ` The pass key is ${key}. Remember it. ${key} is the pass key.`;

/** Every trial has its own seed, so that it does not depend on how many trials there are. */
const MOST_TRIALS = 2 ** 16;
/** llama.cpp's example draws keys from 1 to 50,000. */
const LARGEST_KEY = 50_000;
const WORDS_IN_A_KEY = 3;
/** A haystack of prose has at least about this many tokens. */
const SHORTEST_WINDOW = 16;
/** Full stop, end of text, and room for an answer that goes on where it should not. */
const TOKENS_AFTER_KEY = 4;

/**
 * Depths spread evenly from 5 to 95 per cent; a single one stands in the middle.
 *
 *     8 trials   5  17.9  30.7  43.6  56.4  69.3  82.1  95
 */
export function spreadDepths(trials: number): number[] {
  if (trials === 1) return [50];
  return Array.from({ length: trials }, (_, trial) => 5 + (90 * trial) / (trials - 1));
}

/**
 * Makes all cases. The same options give the same cases, whatever else runs.
 * @throws KvfoldError KVFOLD_ARGUMENT when the budget is smaller than the shortest prompt, KVFOLD_FILE when the
 *   haystack is too short for it
 */
export async function makePasskeyCases(
  tokenizer: Tokenizer,
  options: PasskeyCaseOptions,
): Promise<PasskeyCase[]> {
  const question = await tokenizer.tokenize(QUESTION, { bos: false });
  const count = countTokens(tokenizer);
  const cases: PasskeyCase[] = [];
  for (let index = 0; index < options.trials; index++) {
    const random = createRandom(options.seed * MOST_TRIALS + index);
    const key = drawKey(options.key, random);
    const depth = options.depths[index % options.depths.length]!;
    const budget = options.tokens - question.length;
    const text = await fillBudget(count, options.haystack, key, depth, budget, random);
    cases.push({
      index,
      depth,
      key,
      text,
      prompt: await tokenizer.tokenize(text, { bos: true }),
      question,
      answerTokens: (await tokenizer.tokenize(` ${key}`, { bos: false })).length + TOKENS_AFTER_KEY,
    });
  }
  return cases;
}

/** Draws a key: a number from 1 to 50,000, or three different words with hyphens. */
export function drawKey(kind: KeyKind, random: () => number): string {
  if (kind === "digits") return String(1 + randomBelow(random, LARGEST_KEY));
  const words = [...KEY_WORDS];
  return Array.from(
    { length: WORDS_IN_A_KEY },
    () => words.splice(randomBelow(random, words.length), 1)[0]!,
  ).join("-");
}

// ---------------------------------------------------------------------------------------------------------------

/** A whole number in [0, limit). */
function randomBelow(random: () => number, limit: number): number {
  return Math.floor(random() * limit);
}

interface TokenCount {
  /** Tokens of a whole prompt. */
  whole(text: string): Promise<number>;
  /** Tokens of a piece on its own; remembered, because haystacks repeat. */
  piece(text: string): Promise<number>;
}

function countTokens(tokenizer: Tokenizer): TokenCount {
  const known = new Map<string, number>();
  return {
    whole: async (text) => (await tokenizer.tokenize(text, { bos: true })).length,
    piece: async (text) => {
      let tokens = known.get(text);
      if (tokens === undefined) {
        tokens = (await tokenizer.tokenize(text, { bos: false })).length;
        known.set(text, tokens);
      }
      return tokens;
    },
  };
}

/** The longest prompt within the budget: as many whole pieces as fit, and of prose the words that still do. */
async function fillBudget(
  count: TokenCount,
  haystack: Haystack,
  key: string,
  depth: number,
  budget: number,
  random: () => number,
): Promise<string> {
  const fixed = await count.whole(INTRODUCTION + needleOf(key));
  const shortest = haystack.kind === "repeat" ? await count.piece(haystack.pieces[0]!) : SHORTEST_WINDOW;
  const least = fixed + shortest;
  if (budget < least) throw tooFewTokens(least - budget);
  const write = (pieces: readonly string[]): Promise<string> => writePrompt(count, pieces, key, depth);
  const fits = async (pieces: readonly string[]): Promise<boolean> =>
    (await count.whole(await write(pieces))) <= budget;
  const pieces = await choosePieces(count, haystack, budget - fixed, random);
  // pieces alone may take a few tokens more or fewer than the text that they make
  let cut = "";
  while (pieces.length > 0 && !(await fits(pieces))) cut = pieces.pop()!;
  if (haystack.kind === "window") {
    const words = await longestStart(cut, (start) => fits([...pieces, start]));
    if (words !== "") pieces.push(words);
  }
  if (pieces.length === 0) throw tooFewTokens(1);
  return write(pieces);
}

function tooFewTokens(missing: number): KvfoldError {
  return new KvfoldError("KVFOLD_ARGUMENT", "the tokens are too few for the prompt", {
    hint: `introduction, needle, question and a little text between them need ${missing} more: ask for more tokens`,
  });
}

/** The longest start of a piece, cut between words, that `fits`; empty when none does. */
async function longestStart(piece: string, fits: (start: string) => Promise<boolean>): Promise<string> {
  const ends = [...piece.matchAll(/\S(?=\s|$)/gu)].map((match) => match.index + match[0].length);
  let low = 0;
  let high = ends.length;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (await fits(piece.slice(0, ends[middle - 1]))) low = middle;
    else high = middle - 1;
  }
  return low === 0 ? "" : piece.slice(0, ends[low - 1]);
}

/** Introduction, pieces, and the needle at the border that lies nearest to the depth. */
async function writePrompt(
  count: TokenCount,
  pieces: readonly string[],
  key: string,
  depth: number,
): Promise<string> {
  const before = [0]; // tokens of the haystack before each border
  for (const piece of pieces) before.push(before.at(-1)! + (await count.piece(piece)));
  const wanted = (before.at(-1)! * depth) / 100;
  let border = 0;
  for (let i = 1; i < before.length; i++) {
    if (Math.abs(before[i]! - wanted) < Math.abs(before[border]! - wanted)) border = i;
  }
  const [start, end] = [pieces.slice(0, border), pieces.slice(border)];
  return [INTRODUCTION, ...start, needleOf(key), ...end].join("");
}

/** Takes pieces until their tokens reach `room`; a window has one piece too many, to be cut. */
async function choosePieces(
  count: TokenCount,
  haystack: Haystack,
  room: number,
  random: () => number,
): Promise<string[]> {
  const { pieces } = haystack;
  if (haystack.kind === "repeat") {
    let unit = 0;
    for (const piece of pieces) unit += await count.piece(piece);
    const units = Math.max(1, Math.ceil(room / Math.max(1, unit)));
    return Array.from({ length: units * pieces.length }, (_, place) => pieces[place % pieces.length]!);
  }
  let from = randomBelow(random, pieces.length);
  let to = from;
  let tokens = 0;
  while (tokens <= room && to < pieces.length) tokens += await count.piece(pieces[to++]!);
  while (tokens <= room && from > 0) tokens += await count.piece(pieces[--from]!);
  if (tokens <= room) {
    throw new KvfoldError("KVFOLD_FILE", `the haystack ${JSON.stringify(haystack.name)} is too short`, {
      hint: `it has about ${tokens} tokens and the prompt needs ${room}; ask for fewer tokens or give a longer text`,
    });
  }
  return [`\n${pieces[from]!.trimStart()}`, ...pieces.slice(from + 1, to)];
}
