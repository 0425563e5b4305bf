/** What options accept, and what they say when they do not. */
import { describe, expect, test } from "vitest";
import { collect, depths, fileName, listOf, oneOf, ratios, seed, wholeNumber } from "./options.js";

const refusal = (code: string, message: RegExp): unknown =>
  expect.objectContaining({
    code,
    message: expect.stringMatching(message),
    hint: expect.stringMatching(/./),
  });

describe("ratios", () => {
  test.each([
    ["4", [4]],
    ["1", [1]],
    ["4,8", [4, 8]],
    [" 2.5 , 4 ", [2.5, 4]],
    ["4,4", [4]],
    ["1e2", [100]],
  ])("%j", (text, expected) => expect(ratios(text)).toEqual(expected));

  test.each(["0", "0.5", "-4", "NaN", "Infinity", "1e999", "", "4,", "x", "4x", "0x4", "4 8"])(
    "refuses %j",
    (text) => expect(() => ratios(text)).toThrowError(refusal("KVFOLD_RATIO", /--ratio/)),
  );
});

describe("wholeNumber", () => {
  const read = wholeNumber("--tokens", 1, 100);
  test.each(["1", "100", "042"])("%j", (text) => expect(read(text)).toBe(Number(text)));
  test.each(["0", "101", "-1", "1.5", "1e1", "ten", "", "99999999999999999999", "Infinity"])(
    "refuses %j",
    (text) => expect(() => read(text)).toThrowError(refusal("KVFOLD_ARGUMENT", /--tokens/)),
  );
});

test("seeds have 32 bits", () => {
  expect(seed("4294967295")).toBe(4294967295);
  expect(() => seed("4294967296")).toThrowError(refusal("KVFOLD_ARGUMENT", /--seed/));
});

describe("depths", () => {
  test.each([
    ["50", [50]],
    ["0,50,100", [0, 50, 100]],
    ["5, 99.5", [5, 99.5]],
  ])("%j", (text, expected) => expect(depths(text)).toEqual(expected));
  test.each(["101", "-1", "", "5,,6", "half"])("refuses %j", (text) =>
    expect(() => depths(text)).toThrowError(refusal("KVFOLD_ARGUMENT", /--depths/)),
  );
});

test("oneOf takes its words and lists them when refusing", () => {
  const read = oneOf("--key", ["digits", "words"]);
  expect(read("words")).toBe("words");
  expect(() => read("word")).toThrowError(expect.objectContaining({ hint: "give digits or words" }));
});

test("collect keeps the order", () => {
  expect(collect("b", collect("a", undefined))).toEqual(["a", "b"]);
});

test("listOf reads each part, once", () => {
  const read = listOf(wholeNumber("--tokens", 1, 100));
  expect(read("4, 8,4")).toEqual([4, 8]);
  for (const text of ["", "4,", "4,x"]) {
    expect(() => read(text)).toThrowError(refusal("KVFOLD_ARGUMENT", /--tokens/));
  }
  expect(() => listOf(fileName)("junk,")).toThrowError(refusal("KVFOLD_ARGUMENT", /file name/));
});
