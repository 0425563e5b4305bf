/** Pictures of plans: exact where small, bounded where large, harmless where hostile. */
import { describe, expect, it } from "vitest";
import { codeOf, smallCache, smallLayer } from "../../test/small-cache.js";
import { sharedPlan } from "./builder.js";
import { compositePlan, keepPlan } from "./keep.js";
import { PIN_LEVEL } from "./plan.js";
import { printPlan } from "./print.js";
import { columns, visible } from "./print-text.js";

const view = await smallCache({ cells: 6 }).lease();
const merged = sharedPlan(
  view,
  [
    { members: [0], position: 0 },
    { members: [1, 2], position: 2, bias: 0.5, keyWeights: [0.5, 0.5] },
    { members: [4], position: 4 },
    { members: [5], position: 5 },
  ],
  { pins: Uint8Array.of(PIN_LEVEL.exact, 0, 0, 0, 0, 0) },
);
const pieces = ["a", "b", "c", "d", "e", "f"];
const large = await smallCache({ cells: 400 }).lease();
const every = (step: number): number[] => Array.from({ length: 400 / step }, (_, i) => i * step);

describe("a shared plan", () => {
  it("shows statistics, and what went where", () => {
    expect(printPlan(merged, { pieces })).toBe(
      [
        "shared plan: 6 cells -> 4 rows, 1.50x",
        "rows       3 kept, 1 merged of 2 cells, at most 2",
        "dropped    1 of 6 tokens",
        "positions  0..5",
        "bias       0.000..0.500",
        "pins       1 exact",
        "keys       stored frame, all weights",
        "",
        "0  a [bc] (1 dropped) e f",
      ].join("\n"),
    );
  });

  it("shows cells by their index where no pieces are known, and cells that were not neighbours", () => {
    const plan = sharedPlan(view, [
      { members: [0, 2], position: 2 },
      { members: [3, 4, 1], position: 4 },
    ]);
    expect(printPlan(plan)).toContain("2  [0+2] [3 4+1] (1 dropped)");
  });

  it("abbreviates runs, and rows of many members", () => {
    const kept = keepPlan(large, [...every(1).slice(0, 100), 399]);
    expect(printPlan(kept)).toContain("0  0 1 2 3 (92 more kept) 96 97 98 99 (299 dropped) 399");
    const all = sharedPlan(large, [{ members: every(1), position: 399 }]);
    expect(printPlan(all)).toContain("[0 1 2 3 4 5\u2026394 more]");
  });

  it("puts the position of its first row before each line", () => {
    const plan = keepPlan(large, every(4), { positions: "dense" });
    const lines = printPlan(plan, { width: 60, lines: 1000 }).split("\n").slice(8);
    expect(lines[0]).toMatch(/^300 {2}0 \(3 dropped\) 4 \(3 dropped\)/);
    // lines that start with a row say its position; row j keeps cell 4 j at position 300 + j
    for (const line of lines) {
      const [, position, cell] = /^(\d+) {2}(\d+)/.exec(line) ?? [];
      if (position !== undefined) expect(Number(position)).toBe(300 + Number(cell) / 4);
    }
  });

  it.each([20, 33, 80, 200])("stays within %i columns, colours aside", (width) => {
    const wide = Array.from(
      { length: 400 },
      (_, i) => ["\u6f22\u5b57", "long".repeat(20), " x", "\u{1f600}"][i % 4]!,
    );
    const plan = sharedPlan(
      large,
      every(4).map((cell) => ({ members: [cell, cell + 1], position: cell + 1 })),
    );
    for (const options of [{ pieces: wide }, { pieces: wide, color: true }, {}]) {
      const text = printPlan(plan, { width, ...options });
      // biome-ignore lint/suspicious/noControlCharactersInRegex: colours are control sequences
      for (const line of text.replace(/\u001b\[\d+m/g, "").split("\n"))
        expect(columns(line)).toBeLessThanOrEqual(width);
    }
  });

  it("shows both ends of a picture that is too long", () => {
    const lines = printPlan(keepPlan(large, every(2)), { width: 60, lines: 10 })
      .split("\n")
      .slice(8);
    expect(lines).toHaveLength(10);
    expect(lines[5]).toMatch(/^\.\.\. \d+ more lines$/);
    expect(lines.slice(6).join(" ")).toMatch(/398\s+\(1 dropped\)$/);
  });

  it("colours only when asked to", () => {
    expect(printPlan(merged, { pieces })).not.toContain("\u001b");
    expect(printPlan(merged, { pieces, color: true })).toContain("\u001b[33m[bc]\u001b[39m");
    expect(printPlan(merged, { pieces, color: true })).toContain("\u001b[1ma\u001b[22m");
  });
});

describe("a composite plan", () => {
  const layers = [smallLayer(), smallLayer({ kvHeads: 1 })];

  it("shows what every head kept", async () => {
    const wide = await smallCache({ cells: 8, layers }).lease();
    const plan = compositePlan(wide, Uint32Array.of(0, 1, 7, 0, 6, 7, 4, 5, 7, 4, 5, 7));
    const text = printPlan(plan, { pieces: [..."abcdefgh"] });
    expect(text).toContain("cells kept by all heads 1, by some 5, by none 2");
    expect(text.split("\n").slice(7)).toEqual([
      "all   |+-  ++-@| like",
      "L0 H0 |@@     @|  33%",
      "L0 H1 |@     @@|  33%",
      "L1 H0 |    @@ @|  33%",
      "L1 H1 |    @@ @|  33%",
      "",
      "kept by most heads, with the old cell in front:",
      "7  (7 dropped) h",
    ]);
  });

  it("fits any width", async () => {
    const wide = await smallCache({ cells: 400, layers }).lease();
    const members = Uint32Array.from(
      [0, 1, 2, 3].flatMap((group) => every(4).map((cell) => cell + (group < 2 ? group : 2))),
    );
    for (const width of [20, 50, 300]) {
      for (const line of printPlan(compositePlan(wide, members), { width }).split("\n")) {
        expect(columns(line)).toBeLessThanOrEqual(width);
      }
    }
  });
});

describe("text", () => {
  it("cannot steer a terminal", () => {
    expect(visible("a b\n\t\r")).toBe("a\u2581b\\n\\t\\r");
    expect(visible("\u001b[2J\u0007\u009b")).toBe("\\u{1b}[2J\\u{7}\\u{9b}");
    expect(visible("\u202e\u200b\u2028\ud800\u00a0")).toBe("\\u{202e}\\u{200b}\\u{2028}\\u{d800}\\u{a0}");
    expect(visible("")).toBe('""');
  });

  it("is measured in columns", () => {
    expect(["abc", "\u6f22", "e\u0301", "\u{1f600}", "\u2581"].map(columns)).toEqual([3, 2, 1, 2, 1]);
  });
});

describe("bad arguments", () => {
  it("get a code", () => {
    expect(codeOf(() => printPlan(merged, { pieces: ["a"] }))).toBe("KVFOLD_ARGUMENT");
    expect(codeOf(() => printPlan({ ...merged, members: Uint32Array.of(0, 1, 9, 5, 4) }))).toMatch(
      /^KVFOLD_PLAN_/,
    );
    expect(printPlan(merged, { width: Number.NaN })).toContain("shared plan");
  });
});
