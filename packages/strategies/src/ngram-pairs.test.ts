/** ngram-pairs: which pairs merge, how, and which lists are refused. */
import { type Dependencies, fold, type PlanContext, type SharedPlan } from "@kvfold/core";
import { describe, expect, it, vi } from "vitest";
import { draw, pinsOf, type TinyOptions, tinyCache, tinyContext, tinyView } from "../test/tiny.js";
import { ENGLISH_PAIRS } from "./ngram/english.js";
import { LIST_LIMITS } from "./ngram/list.js";
import { ngramPairs } from "./ngram-pairs.js";

/** A cache of the words of a text; each word is a token. */
function wordsOf(text: string, more: Partial<TinyOptions> = {}): TinyOptions {
  const words = text.split(" ");
  const vocabulary = [...new Set(words)];
  const tokens = Int32Array.from(words, (word) => (word === "?" ? -1 : vocabulary.indexOf(word)));
  return { cells: words.length, tokens, tokenText: (token) => vocabulary[token]!, ...more };
}

const listed = (...pairs: readonly unknown[]) =>
  JSON.stringify({ format: "kvfold-ngram-pairs", version: 1, pairs });
const reading = (json: string): Partial<Dependencies> => ({ readText: () => json });

async function planOf(
  options: TinyOptions,
  json: string,
  given: Partial<PlanContext> = {},
): Promise<SharedPlan> {
  const strategy = ngramPairs({ list: "list.json" }, reading(json));
  const context = tinyContext(options.cells, { target: 1, ...given });
  return (await strategy.plan(await tinyView(options), context)) as SharedPlan;
}

describe("ngram-pairs", () => {
  it("merges listed neighbours at the position of the later one, and says how many tokens they are", async () => {
    const made = await planOf(wordsOf("key of the safe"), listed(["of", "the"]));
    expect(draw(made)).toBe("a@0 [bc]@2 d@3");
    expect(made.keyFrame).toBe("stored");
    expect([...made.keyWeights.data]).toEqual([1, 0.5, 0.5, 1]);
    expect([...made.bias!]).toEqual([0, Math.fround(Math.log(2)), 0]);
    expect([...made.counts]).toEqual([1, 2, 1]);
  });

  it("does not grow beyond a pair", async () => {
    expect(draw(await planOf(wordsOf("a a a a a"), listed(["a", "a"])))).toBe("[ab]@1 [cd]@3 e@4");
  });

  it("merges what stands first on the list first, then from left to right, until the target is reached", async () => {
    const text = wordsOf("a b c d a b c d");
    const list = listed(["c", "d"], ["a", "b"], ["c", "d"]);
    expect(draw(await planOf(text, list, { target: 7 }))).toBe("a@0 b@1 [cd]@3 e@4 f@5 g@6 h@7");
    expect(draw(await planOf(text, list, { target: 5 }))).toBe("[ab]@1 [cd]@3 e@4 f@5 [gh]@7");
    expect(draw(await planOf(text, listed(["b", "c"], ["a", "b"], ["c", "d"]), { target: 1 }))).toBe(
      "a@0 [bc]@2 d@3 e@4 [fg]@6 h@7",
    );
  });

  it("weighs cells by their tokens", async () => {
    const made = await planOf(wordsOf("a b", { counts: Uint32Array.of(3, 1) }), listed(["a", "b"]));
    expect([...made.valueWeights.data]).toEqual([0.75, 0.25]);
    expect([...made.bias!]).toEqual([Math.fround(Math.log(4))]);
  });

  it.each([
    ["unknown tokens", wordsOf("a ? b"), {}],
    ["a gap between positions", wordsOf("a b", { positions: Int32Array.of(0, 2) }), {}],
    ["cells at one position", wordsOf("a b", { positions: Int32Array.of(1, 1) }), {}],
    ["a pair that reaches out of the range", wordsOf("a b"), { range: { from: 0, to: 1 } }],
    ["a pinned cell", wordsOf("a b"), { pins: pinsOf("0 3") }],
    ["a cell whose key is pinned", wordsOf("a b"), { pins: pinsOf("2 0") }],
    ["two cells that stay", wordsOf("a b"), { pins: pinsOf("1 1") }],
  ])("does not merge over %s", async (_what, options, given) => {
    const list = listed(["a", "b"], ["?", "b"], ["a", "?"]);
    expect((await planOf(options, list, given)).rows).toBe(options.cells);
  });

  it("lets a cell that absorbs take the other in", async () => {
    expect(draw(await planOf(wordsOf("a b"), listed(["a", "b"]), { pins: pinsOf("0 1") }))).toBe("[ab]@1");
  });

  it("says when the list does not reach the target", async () => {
    const warn = vi.fn();
    const log = { debug: vi.fn(), info: vi.fn(), warn };
    const strategy = ngramPairs({ list: "x" }, reading(listed(["a", "b"])));
    const report = await fold(tinyCache(wordsOf("a b c d e f")), { strategy, keep: { ratio: 2 }, log });
    expect(report).toMatchObject({ after: 5, changed: true, note: "5 cells stay, where 3 were asked for" });
    expect(warn).toHaveBeenCalledWith("ngram-pairs: the list merges 1 pairs here, 3 were needed");
  });

  it("needs token ids and their texts", async () => {
    const { tokenText: _unused, ...silent } = wordsOf("a b");
    const view = await tinyView(silent);
    expect(() => ngramPairs().plan(view, tinyContext(2, { target: 1 }))).toThrow(
      expect.objectContaining({ code: "KVFOLD_SIGNAL_MISSING" }),
    );
    expect(ngramPairs().signals).toEqual(["tokens"]);
  });
});

describe("a list", () => {
  const make = (json: string) => () => ngramPairs({ list: "list.json" }, reading(json));

  it.each([
    ["no JSON", "pairs: []", /list "list.json" is not JSON/],
    ["no object", "[]", /expected an object|at format/],
    [
      "another format",
      '{"format":"other","version":1,"pairs":[]}',
      /wrong at format: expected "kvfold-ngram-pairs"/,
    ],
    [
      "another version",
      '{"format":"kvfold-ngram-pairs","version":2,"pairs":[]}',
      /wrong at version: expected 1/,
    ],
    ["no pairs", '{"format":"kvfold-ngram-pairs","version":1}', /wrong at pairs/],
    ["three texts", listed(["a", "b", "c"]), /wrong at pairs.0/],
    ["a number", listed(["a", "b"], ["a", 5]), /wrong at pairs.1.1: expected a token text/],
    ["an empty text", listed(["", "b"]), /wrong at pairs.0.0: .*not empty/],
    ["a long text", listed(["a", "b".repeat(257)]), /wrong at pairs.0.1: expected at most 256/],
    [
      "too many pairs",
      listed(...Array(LIST_LIMITS.pairs + 1).fill(["a", "b"])),
      /expected at most 100000 pairs/,
    ],
    ["brackets without end", "[".repeat(200_000), /is not JSON/],
  ])("with %s is refused", (_what, json, message) => {
    expect(make(json)).toThrow(message);
    expect(make(json)).toThrow(expect.objectContaining({ code: "KVFOLD_ARGUMENT", who: "ngram-pairs" }));
  });

  it("is read with a limit on its size", () => {
    const readText = vi.fn(() => listed());
    ngramPairs({ list: "list.json" }, { readText });
    expect(readText).toHaveBeenCalledWith("list.json", LIST_LIMITS.bytes);
  });

  it("may hold texts that mean something to JavaScript", async () => {
    const made = await planOf(wordsOf("__proto__ constructor"), listed(["__proto__", "constructor"]));
    expect(made.rows).toBe(1);
    expect((await planOf(wordsOf("toString valueOf"), listed(["a", "b"]))).rows).toBe(2);
  });

  it("that is built in keeps to the limits, without repetition", () => {
    expect(() => ngramPairs()).not.toThrow();
    expect(new Set(ENGLISH_PAIRS.map((pair) => pair.join("|"))).size).toBe(ENGLISH_PAIRS.length);
    expect(ENGLISH_PAIRS.length).toBeGreaterThan(50);
    expect(make(listed(...ENGLISH_PAIRS))).not.toThrow();
  });
});
