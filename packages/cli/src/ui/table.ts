/** Tables that fit the terminal: the first column is wrapped; where even that is too wide, one block a row. */
import { stripVTControlCharacters } from "node:util";
import Table from "cli-table3";
import type { Style } from "./style.js";

export interface Column<Row> {
  /** May hold line breaks. */
  readonly title: string;
  readonly align?: "left" | "right";
  cell(row: Row): string;
}

/** The first column is never made narrower than this. */
const NARROWEST_FIRST = 18;

/**
 * Renders rows. The first column names the row and may be wrapped at spaces and commas; the others keep their width.
 *
 *     strategy              ratio   cells          at 60 columns:   mean
 *     ──────────────────────────────────────                         ratio 4x
 *     mean                     4x   4081 → 1021                      cells 4081 → 1021
 */
export function renderTable<Row>(
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  width: number,
  style: Style,
): string {
  const cells = rows.map((row) => columns.map((column) => column.cell(row)));
  const natural = columns.map((column, index) =>
    Math.max(lineWidth(column.title), ...cells.map((row) => lineWidth(row[index]!))),
  );
  const others = natural.slice(1).reduce((sum, each) => sum + each, 0);
  for (const gap of [2, 1]) {
    const left = width - others - gap * (columns.length - 1);
    const first = Math.min(natural[0]!, left);
    if (first >= Math.min(natural[0]!, NARROWEST_FIRST)) {
      return renderGrid(columns, cells, [first, ...natural.slice(1)], gap, style);
    }
  }
  return renderBlocks(columns, cells, style);
}

/** Breaks text into lines of at most `width` characters, after spaces and commas, or anywhere when it must. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const part of text.match(/[^ ,]*[ ,]*/g) ?? []) {
    if (line !== "" && (line + part).trimEnd().length > width) {
      lines.push(line.trimEnd());
      line = "";
    }
    line += part;
    while (line.trimEnd().length > width) {
      lines.push(line.slice(0, width));
      line = line.slice(width);
    }
  }
  if (line.trimEnd() !== "" || lines.length === 0) lines.push(line.trimEnd());
  return lines;
}

/** Wraps a sentence or a list item; the later lines of an item stand below its first word. */
export function wrapNote(text: string, width: number): string[] {
  const indent = text.startsWith("- ") ? "  " : "";
  const [first, ...more] = wrap(text, width - indent.length);
  return [first!, ...more.map((line) => indent + line)];
}

// ---------------------------------------------------------------------------------------------------------------

function renderGrid<Row>(
  columns: readonly Column<Row>[],
  cells: readonly string[][],
  widths: readonly number[],
  gap: number,
  style: Style,
): string {
  const none = {
    top: "",
    "top-mid": "",
    "top-left": "",
    "top-right": "",
    bottom: "",
    "bottom-mid": "",
    "bottom-left": "",
    "bottom-right": "",
    left: "",
    "left-mid": "",
    right: "",
    "right-mid": "",
    mid: "",
    "mid-mid": "",
    middle: " ".repeat(gap),
  };
  const table = new Table({
    chars: none,
    colAligns: columns.map((column) => column.align ?? "left"),
    style: { "padding-left": 0, "padding-right": 0, head: [], border: [] },
  });
  table.push(columns.map((column) => column.title.split("\n").map(style.strong).join("\n")));
  for (const row of cells) {
    table.push(row.map((cell, index) => (index === 0 ? wrap(cell, widths[0]!).join("\n") : cell)));
  }
  const lines = table
    .toString()
    .split("\n")
    .map((line) => line.trimEnd());
  const total = widths.reduce((sum, each) => sum + each, 0) + gap * (widths.length - 1);
  const headLines = Math.max(...columns.map((column) => column.title.split("\n").length));
  lines.splice(headLines, 0, style.faint("─".repeat(total)));
  return lines.join("\n");
}

function renderBlocks<Row>(
  columns: readonly Column<Row>[],
  cells: readonly string[][],
  style: Style,
): string {
  const titles = columns.map((column) => column.title.replaceAll("\n", " "));
  const longest = Math.max(...titles.slice(1).map((title) => title.length));
  return cells
    .map((row) =>
      [
        style.strong(row[0]!),
        ...row.slice(1).map((cell, index) => `  ${titles[index + 1]!.padEnd(longest)}  ${cell}`),
      ].join("\n"),
    )
    .join("\n\n");
}

function lineWidth(text: string): number {
  return Math.max(
    ...stripVTControlCharacters(text)
      .split("\n")
      .map((line) => line.length),
  );
}
