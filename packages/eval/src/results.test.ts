/** Result files: what is kept, what is mended, and what is refused without being touched. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { klCell, passkeyCell } from "../test/fake-cells.js";
import { openResults, readCells } from "./results.js";

const folder = mkdtempSync(join(tmpdir(), "kvfold-results-"));
afterAll(() => rmSync(folder, { recursive: true }));
let files = 0;
const write = (content: string | Uint8Array): string => {
  const path = join(folder, `${files++}.jsonl`);
  writeFileSync(path, content);
  return path;
};
const lineOf = (value: object): string => `${JSON.stringify(value)}\n`;
const one = klCell({ strategy: "a", index: 0, kl: [0.25, 0.5] });
const two = passkeyCell({ strategy: "a", index: 1, folded: true });
const row = { command: "eval", id: "row" };

describe("openResults", () => {
  test("keeps cells and rows, each once, and finds them again", () => {
    const path = join(folder, "new.jsonl");
    const results = openResults(path);
    for (const cell of [one, two, one]) results.add(cell);
    results.addRow(row);
    results.close();
    const again = openResults(path);
    expect([...again.cells.values()]).toEqual([one, two]);
    again.add(two);
    again.addRow(row);
    again.close();
    expect(readFileSync(path, "utf8")).toBe([one, two, row].map(lineOf).join(""));
    expect(readCells(path)).toEqual([one, two]);
  });

  test("without a file results live in memory", () => {
    const results = openResults();
    results.add(one);
    expect(results.cells.get(one.id)).toBe(one);
    results.close();
  });

  test("whatever of the last line is there, the lines before it stay and it is written anew", () => {
    const whole = lineOf(one);
    const last = lineOf(two);
    fc.assert(
      fc.property(fc.integer({ min: 0, max: last.length }), (cut) => {
        const path = write(whole + last.slice(0, cut));
        expect(readCells(path).length).toBe(cut < last.length - 1 ? 1 : 2);
        const results = openResults(path);
        results.add(two);
        results.close();
        expect(readFileSync(path, "utf8")).toBe(whole + last);
      }),
      { seed: 4, numRuns: 60 },
    );
  });

  test("lines of other commands stay and are passed over", () => {
    const content = `${lineOf({ command: "passkey", rows: [] })}\n${lineOf(one)}`;
    const path = write(content);
    const results = openResults(path);
    expect(results.cells.size).toBe(1);
    results.close();
    expect(readFileSync(path, "utf8")).toBe(content);
  });

  const { result, ...bare } = one;
  test.each([
    ["prose", "It is a truth universally acknowledged"],
    ["prose in lines", "It is a truth\nuniversally acknowledged\n"],
    ["a last line that is not ours", `${lineOf(one)}{"comm`.replace("comm", 'name":')],
    ["a damaged line", `{"command":"eval-cell"\n${lineOf(one)}`],
    ["a list", "[1]\n"],
    ["bytes", new Uint8Array([0xff, 0x00, 0x0a])],
    ["a cell without result", lineOf(bare)],
    ["a cell with half a result", lineOf({ ...bare, result: { ...result, kl: [1, "x"] } })],
    ["a cell of an unknown task", lineOf({ ...one, task: "constructor" })],
    ["a cell with a bad condition", lineOf({ ...one, conditions: { seed: [] } })],
  ])("refuses %s, and leaves it as it is", (_, content) => {
    const path = write(content);
    const before = readFileSync(path);
    for (const open of [openResults, readCells]) {
      expect(() => open(path)).toThrowError(expect.objectContaining({ code: "KVFOLD_FILE" }));
    }
    expect(readFileSync(path)).toEqual(before);
  });

  test("refuses a folder, and a missing file when only reading", () => {
    expect(() => openResults(folder)).toThrowError(expect.objectContaining({ code: "KVFOLD_FILE" }));
    const missing = join(folder, "missing.jsonl");
    expect(() => readCells(missing)).toThrowError(expect.objectContaining({ code: "KVFOLD_FILE" }));
  });
});
