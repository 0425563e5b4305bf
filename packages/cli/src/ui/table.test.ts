/** Tables keep to the width they are given. */
import { stripVTControlCharacters } from "node:util";
import { describe, expect, test } from "vitest";
import { styleFor } from "./style.js";
import { type Column, renderTable, wrap, wrapNote } from "./table.js";

const style = styleFor({ colour: false });
const columns: Column<string[]>[] = [
  { title: "strategy", cell: (row) => row[0]! },
  { title: "ratio", align: "right", cell: (row) => row[1]! },
  { title: "decode\ntokens/s", align: "right", cell: (row) => row[2]! },
];
const rows = [
  ["mean", "4x", "210 → 340"],
  ["pin(sinks=4,recent=128) > evict(by=keydiff,per=head)", "8x", "9"],
];
const widest = (text: string): number => Math.max(...text.split("\n").map((line) => line.length));

describe("wrap", () => {
  test("breaks after spaces and commas", () => {
    expect(wrap("pin(sinks=4,recent=128) > evict(by=keydiff,per=head)", 26)).toEqual([
      "pin(sinks=4,recent=128) >",
      "evict(by=keydiff,per=head)",
    ]);
  });
  test("breaks long words anywhere", () => {
    expect(wrap("abcdefghij", 4)).toEqual(["abcd", "efgh", "ij"]);
  });
  test("loses nothing but spaces at line ends", () => {
    const text = "one two,three four(five=6) > seven";
    for (let width = 1; width < 40; width++) {
      const lines = wrap(text, width);
      expect(lines.join("").replaceAll(" ", "")).toBe(text.replaceAll(" ", ""));
      expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(width);
    }
  });
  test("an empty text is one empty line", () => {
    expect(wrap("", 5)).toEqual([""]);
  });
});

test("wrapNote hangs the lines of a list item", () => {
  expect(wrapNote("- one two three", 9)).toEqual(["- one", "  two", "  three"]);
  expect(wrapNote("one two three", 9)).toEqual(["one two", "three"]);
});

describe("renderTable", () => {
  test("lines up a wide table", () => {
    const lines = renderTable(columns, rows, 100, style).split("\n");
    expect(lines).toHaveLength(5);
    expect(lines[3]).toMatch(/^mean +4x {2}210 → 340$/);
    expect(lines[4]).toMatch(/^pin\(.*\) +8x +9$/);
    expect(lines[2]).toMatch(/^─+$/);
    expect(lines[2]!.length).toBe(lines[3]!.length);
  });

  test.each([40, 50, 60, 80, 100])("fits %i columns", (width) => {
    expect(widest(renderTable(columns, rows, width, style))).toBeLessThanOrEqual(width);
  });

  test("wraps the first column where it must", () => {
    const lines = renderTable(columns, rows, 50, style).split("\n");
    expect(lines).toContainEqual(expect.stringMatching(/^pin\(sinks=4,recent=128\) > +8x +9$/));
    expect(lines).toContainEqual("evict(by=keydiff,per=head)");
  });

  test("becomes a list where it cannot be a table", () => {
    const text = renderTable(columns, rows, 30, style);
    expect(text).toContain("mean\n  ratio            4x\n  decode tokens/s  210 → 340\n\npin(");
  });

  test("colours take no room", () => {
    const painted: Column<string[]>[] = [
      columns[0]!,
      columns[1]!,
      { ...columns[2]!, cell: (row) => `\u001b[32m${row[2]}\u001b[39m` },
    ];
    const plain = renderTable(columns, rows, 80, style);
    expect(stripVTControlCharacters(renderTable(painted, rows, 80, style))).toBe(plain);
  });
});
