/** The words of keys can be told apart and spoken. */
import { expect, test } from "vitest";
import { KEY_WORDS } from "./words.js";

test("words are different, capitalised and plain", () => {
  expect(new Set(KEY_WORDS).size).toBe(KEY_WORDS.length);
  expect(KEY_WORDS.length).toBeGreaterThanOrEqual(150);
  for (const word of KEY_WORDS) expect(word).toMatch(/^[A-Z][a-z]{2,8}$/);
});
