/**
 * Lists of token pairs, read from JSON:
 *
 *     { "format": "kvfold-ngram-pairs", "version": 1, "pairs": [[" of", " the"], [" in", " the"]] }
 *
 * A pair is two token texts exactly as the engine writes them, spaces included. The best pairs come first. Lists from
 * elsewhere are data, never trusted: size, number and length of the pairs are limited.
 */
import { type Dependencies, KvfoldError } from "@kvfold/core";
import * as v from "valibot";
import { ENGLISH_PAIRS } from "./english.js";

/** Limits of a list file. */
export const LIST_LIMITS: Readonly<Record<"bytes" | "pairs" | "text", number>> = {
  bytes: 2 ** 22,
  pairs: 100_000,
  text: 256,
};

/** The list that is built in. */
export const BUILT_IN_LIST = "english";

/** Rank of a pair of token texts, 0 is the best; undefined where the list does not have it. */
export type PairRanks = (first: string, second: string) => number | undefined;

/**
 * @param list `english`, or the path of a JSON file
 * @throws KvfoldError KVFOLD_FILE, KVFOLD_ARGUMENT when it is no list
 */
export function readPairs(list: string, { readText }: Pick<Dependencies, "readText">): PairRanks {
  if (list === BUILT_IN_LIST) return rankPairs(ENGLISH_PAIRS);
  return rankPairs(parsePairs(readText(list, LIST_LIMITS.bytes), list));
}

// ---------------------------------------------------------------------------------------------------------------

const text = v.pipe(
  v.string("expected a token text"),
  v.minLength(1, "expected a token text that is not empty"),
  v.maxLength(LIST_LIMITS.text, `expected at most ${LIST_LIMITS.text} characters`),
);

const schema = v.object(
  {
    format: v.literal("kvfold-ngram-pairs", 'expected "kvfold-ngram-pairs"'),
    version: v.literal(1, "expected 1"),
    pairs: v.pipe(
      v.array(v.strictTuple([text, text], "expected two token texts"), "expected a list of pairs"),
      v.maxLength(LIST_LIMITS.pairs, `expected at most ${LIST_LIMITS.pairs} pairs`),
    ),
  },
  "expected an object",
);

function parsePairs(json: string, list: string): readonly (readonly [string, string])[] {
  let data: unknown;
  try {
    data = JSON.parse(json);
  } catch (cause) {
    throw listError(list, "is not JSON", cause);
  }
  const result = v.safeParse(schema, data, { abortEarly: true });
  if (result.success) return result.output.pairs;
  const [issue] = result.issues;
  const place = v.getDotPath(issue);
  throw listError(list, `is wrong${place === null ? "" : ` at ${place}`}: ${issue.message}`);
}

function listError(list: string, what: string, cause?: unknown): KvfoldError {
  return new KvfoldError("KVFOLD_ARGUMENT", `the list ${JSON.stringify(list)} ${what}`, {
    who: "ngram-pairs",
    hint: 'write {"format":"kvfold-ngram-pairs","version":1,"pairs":[[" of"," the"]]}',
    ...(cause === undefined ? {} : { cause }),
  });
}

/** The first of equal pairs counts. */
function rankPairs(pairs: readonly (readonly [string, string])[]): PairRanks {
  const byFirst = new Map<string, Map<string, number>>();
  pairs.forEach(([first, second], rank) => {
    const bySecond = byFirst.get(first) ?? new Map<string, number>();
    byFirst.set(first, bySecond);
    if (!bySecond.has(second)) bySecond.set(second, rank);
  });
  return (first, second) => byFirst.get(first)?.get(second);
}
