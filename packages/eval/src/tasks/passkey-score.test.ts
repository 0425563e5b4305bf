/** Answers that name the key, and answers that only look as if they did. */
import { describe, expect, test } from "vitest";
import { isRightAnswer } from "./passkey-score.js";

describe("digits", () => {
  test.each([" 31415.", "31415", " 31415<", "\n31415, it is.", " 31415. Remember", " 31415 31415"])(
    "%j names 31415",
    (answer) => expect(isRightAnswer(answer, "31415")).toBe(true),
  );
  test.each([
    "",
    " ",
    " 3141.",
    " 314159.",
    " 31415a",
    " 31415-92.",
    " 31415.9",
    " 31415,000",
    " 31 415.",
    " 13141",
    " The key is 31415.",
    "x31415",
    " 31415_2",
    " 31415٣",
  ])("%j does not", (answer) => expect(isRightAnswer(answer, "31415")).toBe(false));
});

describe("words", () => {
  const key = "Acorn-Tiger-Linen";
  test.each([" Acorn-Tiger-Linen.", "Acorn-Tiger-Linen", " Acorn-Tiger-Linen. It"])("%j names it", (answer) =>
    expect(isRightAnswer(answer, key)).toBe(true),
  );
  test.each([
    " acorn-tiger-linen.",
    " Acorn-Tiger.",
    " Acorn-Tiger-Linens",
    " Acorn-Tiger-Linen-Opal.",
    " Acorn Tiger Linen.",
  ])("%j does not", (answer) => expect(isRightAnswer(answer, key)).toBe(false));
});
