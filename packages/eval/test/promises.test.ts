/** What the demo shows holds: the default keeps every key that the full cache knows, merging by position loses them. */
import { heldoutTextPath } from "@kvfold/model-nano";
import { describe, expect, test, vi } from "vitest";
import { junkHaystack, proseHaystack } from "../src/index.js";
import { measure, TRIALS } from "./measure-nano.js";

/** Eight prompts of 4,096 tokens, each folded twice: half a minute on two quiet cores. */
vi.setConfig({ testTimeout: 600_000 });

describe("junk, digits", () => {
  test("the default keeps every key that the full cache knows, at 4x and 8x", async () => {
    const rows = await measure({
      key: "digits",
      haystack: junkHaystack,
      strategies: ["default"],
      ratios: [4, 8],
    });
    for (const row of rows) {
      expect(row.full).toBe(TRIALS);
      expect(row.lost).toEqual([]);
      expect(row.cellsAfter).toBeLessThanOrEqual(Math.ceil(row.cellsBefore / row.ratio));
      expect(row.bytesFreed).toBeGreaterThan(0);
    }
  });

  test.each([undefined, 512])("merging by position loses them, folding every %s", async (foldEvery) => {
    const rows = await measure({
      key: "digits",
      haystack: junkHaystack,
      strategies: ["sum", "mean"],
      ratios: [4],
      ...(foldEvery === undefined ? {} : { foldEvery }),
    });
    for (const row of rows) {
      expect(row.full).toBe(TRIALS);
      expect(row.folded).toBeLessThanOrEqual(1);
    }
  });
});

describe("prose", () => {
  test("digits: the default keeps at least 7 of 8 at 4x", async () => {
    const [row] = await measure({
      key: "digits",
      haystack: await proseHaystack(heldoutTextPath),
      strategies: ["default"],
      ratios: [4],
    });
    expect(row!.full).toBe(TRIALS);
    expect(row!.folded).toBeGreaterThanOrEqual(7);
  });
});
