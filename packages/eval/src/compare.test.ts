/** Comparisons: who is compared with whom, on which pairs, and with what sign. */
import { describe, expect, test } from "vitest";
import { klCell, passkeyCell } from "../test/fake-cells.js";
import { compareCells } from "./compare.js";

const kl = (strategy: string, scores: readonly number[], ratio = 4) =>
  scores.map((score, index) => klCell({ strategy, index, ratio, kl: [score, score] }));
const cells = [...kl("good", [1, 2, 3]), ...kl("fair", [2, 4, 6]), ...kl("bad", [9, 9, 9])];
const summary = (groups: ReturnType<typeof compareCells>): unknown =>
  groups[0]!.rows.map(({ row, mean, comparison }) => [
    row.strategy,
    mean,
    comparison?.baseline ?? null,
    comparison?.difference.mean ?? null,
  ]);

describe("compareCells", () => {
  test("every strategy with the best other one", () => {
    expect(summary(compareCells(cells))).toEqual([
      ["good", 2, "fair", -2],
      ["fair", 4, "good", 2],
      ["bad", 9, "good", 7],
    ]);
  });

  test("or with the baseline, which is compared with nothing", () => {
    const groups = compareCells(cells, { baseline: "fair" });
    expect(summary(groups)).toEqual([
      ["good", 2, "fair", -2],
      ["fair", 4, null, null],
      ["bad", 9, "fair", 5],
    ]);
    expect(groups[0]!.rows[0]!.comparison).toMatchObject({ pairs: 3, quotient: 0.5 });
  });

  test("pairs take out what windows have in common: the interval is of differences", () => {
    const shifted = [...kl("a", [1, 5, 9]), ...kl("b", [2, 6, 10])];
    const { difference } = compareCells(shifted)[0]!.rows[0]!.comparison!;
    expect(difference).toEqual({ mean: -1, low: -1, high: -1 });
  });

  test("only what both have is compared", () => {
    const some = [...kl("a", [1, 1, 1]), ...kl("b", [3])];
    expect(compareCells(some)[0]!.rows.map(({ comparison }) => comparison!.pairs)).toEqual([1, 1]);
  });

  test("ratios and texts are kept apart", () => {
    const mixed = [
      ...kl("a", [1], 8),
      ...kl("b", [2], 4),
      klCell({ strategy: "a", index: 0, tokens: 999, kl: [1] }),
    ];
    const groups = compareCells(mixed);
    expect(groups.map(({ group }) => group.tokens)).toEqual([100, 999]);
    expect(groups[0]!.rows.map(({ row }) => row.ratio)).toEqual([4, 8]);
    expect(groups.flatMap(({ rows }) => rows.map(({ comparison }) => comparison))).toEqual([
      null,
      null,
      null,
    ]);
  });

  test("of right answers more is better", () => {
    const keys = (strategy: string, right: readonly boolean[]) =>
      right.map((folded, index) => passkeyCell({ strategy, index, folded }));
    const groups = compareCells([
      ...keys("none", [false, false]),
      ...keys("one", [true, false]),
      ...keys("all", [true, true]),
    ]);
    expect(summary(groups)).toEqual([
      ["none", 0, "all", -1],
      ["one", 0.5, "all", -0.5],
      ["all", 1, "one", 0.5],
    ]);
    expect(groups[0]!.rows[1]!.row).toMatchObject({ full: 2, folded: 1, lost: 1, trials: 2 });
  });

  test("an unknown baseline is refused, and the known ones are named", () => {
    expect(() => compareCells(cells, { baseline: "best" })).toThrowError(
      expect.objectContaining({ code: "KVFOLD_ARGUMENT", hint: expect.stringContaining("good, fair, bad") }),
    );
  });
});

test("rows hold the fields of the contract", () => {
  const [group] = compareCells([
    klCell({ strategy: "a", index: 0, kl: [0, 1, 2, 3] }),
    klCell({ strategy: "a", index: 1, kl: [4, 5, 6, 7] }),
  ]);
  expect(group!.rows[0]!.row).toMatchObject({
    command: "eval",
    task: "kl",
    model: "fake",
    strategy: "a",
    ratio: 4,
    tokens: 100,
    windows: 2,
    kl: { mean: 3.5, p50: 3.5, p95: 6.65, p99: 6.93 },
    top1: 0.5,
    deltaNll: 0.5,
  });
});
