/** The default keeps keys in prose too, and merging by position loses them when it folds on the way as well. */
import { heldoutTextPath } from "@kvfold/model-nano";
import { expect, test } from "vitest";
import { junkHaystack, proseHaystack } from "../src/index.js";
import { measure, TRIALS } from "./measure-nano.js";

test("prose, digits: the default keeps at least 7 of 8 at 4x", async () => {
  const [row] = await measure({
    key: "digits",
    haystack: await proseHaystack(heldoutTextPath),
    runs: [["default", 4]],
  });
  expect(row!.full).toBe(TRIALS);
  expect(row!.folded).toBeGreaterThanOrEqual(7);
});

test("junk, digits: merging by position loses them, folding every 512 tokens", async () => {
  // every strategy reads the prompts anew
  const trials = 4;
  const rows = await measure({
    key: "digits",
    haystack: junkHaystack,
    runs: [
      ["sum", 4],
      ["mean", 4],
    ],
    trials,
    foldEvery: 512,
  });
  for (const row of rows) {
    expect(row.full).toBe(trials);
    expect(row.folded).toBeLessThanOrEqual(1);
  }
});
