/** Cases keep to their budget, hide the whole needle where asked, and come out the same every time. */
import { createRandom } from "@kvfold/core";
import { heldoutTextPath } from "@kvfold/model-nano";
import { beforeAll, describe, expect, test } from "vitest";
import { type Haystack, JUNK_UNIT, junkHaystack, proseHaystack } from "../haystack.js";
import {
  drawKey,
  makePasskeyCases,
  type PasskeyCase,
  spreadDepths,
  type Tokenizer,
} from "./passkey-cases.js";

/** One token for each word, white space included, and for each single digit; a first token where asked. */
const words: Tokenizer = {
  tokenize: async (text, options) => {
    const tokens = text.match(/\s*\d|\s*[^\s\d]+|\s+$/gu) ?? [];
    return new Int32Array([...(options?.bos === true ? [0] : []), ...tokens.map((token) => token.length)]);
  },
};
const needle = (one: PasskeyCase): string =>
  ` The pass key is ${one.key}. Remember it. ${one.key} is the pass key.`;
const junkOptions = {
  tokens: 512,
  key: "digits",
  haystack: junkHaystack,
  depths: spreadDepths(8),
  trials: 8,
  seed: 1,
} as const;

let prose: Haystack;
beforeAll(async () => {
  prose = await proseHaystack(heldoutTextPath);
});

test("depths are spread from 5 to 95 per cent", () => {
  expect(spreadDepths(1)).toEqual([50]);
  expect(spreadDepths(3)).toEqual([5, 50, 95]);
  expect(spreadDepths(8)[0]).toBe(5);
  expect(spreadDepths(8)[7]).toBe(95);
});

describe.each(["junk", "prose"])("%s", (name) => {
  const options = (more: object = {}): Parameters<typeof makePasskeyCases>[1] => ({
    ...junkOptions,
    haystack: name === "junk" ? junkHaystack : prose,
    ...more,
  });

  test.each([256, 511, 512, 2048])("a budget of %i tokens is kept and used", async (tokens) => {
    const unit = (await words.tokenize(JUNK_UNIT)).length;
    for (const key of ["digits", "words"] as const) {
      for (const one of await makePasskeyCases(words, options({ tokens, key }))) {
        const total = one.prompt.length + one.question.length;
        expect(total).toBeLessThanOrEqual(tokens);
        // junk comes in whole units; prose is cut between words
        expect(total).toBeGreaterThan(tokens - (name === "junk" ? unit : 3));
      }
    }
  });

  test("the needle stands whole, once, near its depth", async () => {
    for (const one of await makePasskeyCases(words, options())) {
      const [before, after, ...rest] = one.text.split(needle(one));
      expect(rest).toEqual([]);
      const at = (100 * before!.length) / (before!.length + after!.length);
      // introduction and the length of a piece: a third of this short prompt
      expect(Math.abs(at - one.depth)).toBeLessThan(33);
    }
  });

  test("in a long prompt the depth is met within three per cent", async () => {
    for (const one of await makePasskeyCases(words, options({ tokens: 8192 }))) {
      const [before, after] = one.text.split(needle(one));
      const introduction = one.text.indexOf("information there.") + "information there.".length;
      const hay = before!.length + after!.length - introduction;
      const at = (100 * (before!.length - introduction)) / hay;
      expect(Math.abs(at - one.depth)).toBeLessThan(3);
    }
  });

  test("the seed decides, and nothing else", async () => {
    expect(await makePasskeyCases(words, options())).toEqual(await makePasskeyCases(words, options()));
    const keys = async (seed: number): Promise<string[]> =>
      (await makePasskeyCases(words, options({ seed }))).map((one) => one.key);
    expect(await keys(1)).not.toEqual(await keys(2));
    expect(new Set(await keys(1)).size).toBe(8);
  });

  test("a trial does not depend on how many there are", async () => {
    const few = await makePasskeyCases(words, options({ trials: 2, depths: [10, 90] }));
    const many = await makePasskeyCases(words, options({ trials: 5, depths: [10, 90] }));
    expect(many.slice(0, 2)).toEqual(few);
    expect(many.map((one) => one.depth)).toEqual([10, 90, 10, 90, 10]);
  });

  test("too few tokens are refused, with the number that is missing", async () => {
    await expect(makePasskeyCases(words, options({ tokens: 48 }))).rejects.toThrowError(
      expect.objectContaining({ code: "KVFOLD_ARGUMENT", hint: expect.stringMatching(/need \d+ more/) }),
    );
    let smallest = 48;
    while (smallest < 256) {
      try {
        await makePasskeyCases(words, options({ tokens: smallest }));
        break;
      } catch {
        smallest++;
      }
    }
    expect(smallest).toBeLessThan(128);
  });
});

test("prose that is too short is refused", async () => {
  const short: Haystack = { name: "short.txt", kind: "window", pieces: ["One two.", " Three."] };
  await expect(makePasskeyCases(words, { ...junkOptions, haystack: short })).rejects.toThrowError(
    expect.objectContaining({ code: "KVFOLD_FILE" }),
  );
});

test("depths of 0 and 100 put the needle first and last", async () => {
  const [first, last] = await makePasskeyCases(words, { ...junkOptions, depths: [0, 100], trials: 2 });
  expect(first!.text).toContain(`information there.${needle(first!)}`);
  expect(last!.text.endsWith(needle(last!))).toBe(true);
});

test("keys are numbers from 1 to 50,000 or three different words", () => {
  const random = createRandom(7);
  for (let i = 0; i < 200; i++) {
    const number = drawKey("digits", random);
    expect(number).toMatch(/^[1-9]\d{0,4}$/);
    expect(Number(number)).toBeLessThanOrEqual(50_000);
    const three = drawKey("words", random).split("-");
    expect(new Set(three).size).toBe(3);
  }
});
