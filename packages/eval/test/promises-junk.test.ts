/** What the demo shows holds: the default keeps every key that the full cache knows, merging by position loses them. */
import { expect, test } from "vitest";
import { junkHaystack } from "../src/index.js";
import { measure, TRIALS } from "./measure-nano.js";

test("the default keeps every key that the full cache knows, merging by position loses them", async () => {
  const rows = await measure({
    key: "digits",
    haystack: junkHaystack,
    runs: [
      ["default", 4],
      ["default", 8],
      ["sum", 4],
      ["mean", 4],
    ],
  });
  for (const row of rows) expect(row.full).toBe(TRIALS);
  for (const row of rows.slice(0, 2)) {
    expect(row.lost).toEqual([]);
    expect(row.cellsAfter).toBeLessThanOrEqual(Math.ceil(row.cellsBefore / row.ratio));
    expect(row.bytesFreed).toBeGreaterThan(0);
  }
  for (const row of rows.slice(2)) expect(row.folded).toBeLessThanOrEqual(1);
});
