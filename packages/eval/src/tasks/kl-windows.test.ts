/** Where windows stand, what is in them, and when a text is too short. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { wordTokenizer } from "../../test/fake-engine.js";
import { makeKlWindows } from "./kl-windows.js";

const text = (words: number): string => Array.from({ length: words }, (_, i) => ` w${i}`).join("");
const make = async (words: number, tokens: number, windows: number, window: number) => {
  const tokenizer = wordTokenizer();
  const all = await tokenizer.tokenize(text(words));
  return {
    all,
    made: await makeKlWindows(tokenizer, { text: text(words), name: "a.txt", tokens, windows, window }),
  };
};

describe("makeKlWindows", () => {
  test("spreads windows from the start of the text to its end", async () => {
    const { all, made } = await make(100, 21, 3, 9);
    expect(made.map(({ index, start }) => [index, start])).toEqual([
      [0, 0],
      [1, 35],
      [2, 70],
    ]);
    expect(made.at(-1)!.next.at(-1)).toBe(all.at(-1));
    expect((await make(100, 21, 1, 9)).made[0]!.start).toBe(35);
  });

  test("every window is a stretch of the text, after the first token of texts; nothing is compared twice", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.record({
          words: fc.integer({ min: 40, max: 300 }),
          tokens: fc.integer({ min: 2, max: 20 }),
          windows: fc.integer({ min: 1, max: 6 }),
          window: fc.integer({ min: 1, max: 10 }),
        }),
        async ({ words, tokens, windows, window }) => {
          fc.pre(words >= tokens + windows * window + 1);
          const { all, made } = await make(words, tokens, windows, window);
          expect(made).toHaveLength(windows);
          let compared = -1;
          for (const one of made) {
            expect(one.context).toHaveLength(tokens);
            expect(one.next).toHaveLength(window + 1);
            expect(one.context[0]).toBe(0);
            const stretch = [...one.context.subarray(1), ...one.next];
            expect(stretch).toEqual([...all.subarray(one.start, one.start + stretch.length)]);
            expect(one.start + tokens - 1).toBeGreaterThan(compared);
            compared = one.start + tokens - 1 + window - 1;
          }
        },
      ),
      { seed: 21, numRuns: 200 },
    );
  });

  test.each([
    [30, 21, 1, 10],
    [100, 21, 9, 9],
  ])("refuses %i words for %i tokens and %i windows of %i", async (words, tokens, windows, window) => {
    await expect(make(words, tokens, windows, window)).rejects.toThrowError(
      expect.objectContaining({ code: "KVFOLD_FILE", hint: expect.stringMatching(/room for \d+ windows/) }),
    );
  });

  test("says how many there is room for", async () => {
    await expect(make(100, 21, 9, 9)).rejects.toThrowError(/room for 8 windows/);
    expect((await make(100, 21, 8, 9)).made).toHaveLength(8);
  });

  test("a context without text is refused", async () => {
    await expect(make(100, 1, 1, 9)).rejects.toThrowError(
      expect.objectContaining({ code: "KVFOLD_ARGUMENT" }),
    );
  });
});
