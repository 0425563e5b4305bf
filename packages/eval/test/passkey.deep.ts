/** Longer runs on the embedded model: prose, words, and a second scorer. */
import { heldoutTextPath } from "@kvfold/model-nano";
import { describe, expect, test } from "vitest";
import { junkHaystack, proseHaystack } from "../src/index.js";
import { measure, TRIALS } from "./measure-nano.js";

describe("junk, digits", () => {
  test("with surprise beside key difference nothing is lost either", async () => {
    const rows = await measure({
      key: "digits",
      haystack: junkHaystack,
      runs: [4, 8].map((ratio) => ["evict(by=max(keydiff,surprise),per=head)", ratio] as const),
    });
    for (const row of rows) expect(row.lost).toEqual([]);
  });
});

describe("three words", () => {
  // no promise is made on the folded cache: the figures are printed
  test.each(["junk", "prose"])("%s: the full cache answers", async (name) => {
    const rows = await measure({
      key: "words",
      haystack: name === "junk" ? junkHaystack : await proseHaystack(heldoutTextPath),
      runs: [
        ["default", 4],
        ["default", 8],
      ],
    });
    for (const row of rows) expect(row.full).toBeGreaterThanOrEqual(TRIALS - 1);
  });
});
