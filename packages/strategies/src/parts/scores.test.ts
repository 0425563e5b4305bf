/** Ranks and best cells, by hand and against the obvious. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { bestCells, pooled, ranks } from "./scores.js";

const SEED = 20240302;
const all = (length: number): Uint32Array => Uint32Array.from({ length }, (_, i) => i);

it("ranks by the share of the others that are lower", () => {
  expect([...ranks(Float32Array.of(5, 2, 2, 9))]).toEqual([Math.fround(2 / 3), 0, 0, 1]);
  expect([...ranks(Float32Array.of(7))]).toEqual([0]);
  expect([...ranks(Float32Array.of(Number.NEGATIVE_INFINITY, 0, Number.POSITIVE_INFINITY))]).toEqual([
    0, 0.5, 1,
  ]);
});

it("ranks chosen cells among themselves", () => {
  expect([...ranks(Float32Array.of(9, 1, 5, 3), Uint32Array.of(1, 2, 3))]).toEqual([0, 0, 1, 0.5]);
});

it("takes the older of equal cells", () => {
  expect([...bestCells(Float32Array.of(1, 3, 3, 3, 2), all(5), 2)]).toEqual([1, 2]);
  expect([...bestCells(Float32Array.of(-0, 0, -0, 0), all(4), 2)]).toEqual([0, 1]);
  expect([...bestCells(Float32Array.of(1, 2), all(2), 0)]).toEqual([]);
  expect([...bestCells(Float32Array.of(1, 2), all(2), 3)]).toEqual([0, 1]);
});

it("agrees with sorting everything", () => {
  const scores = fc.float32Array({ noNaN: true, minLength: 1, maxLength: 30, max: 4, min: -4 });
  const coarse = scores.map((values) => values.map(Math.round));
  fc.assert(
    fc.property(fc.oneof(scores, coarse), fc.nat(31), fc.nat(), (values, count, mask) => {
      const cells = all(values.length).filter((cell) => ((mask >> (cell % 30)) & 1) === 0);
      const sorted = [...cells].sort((a, b) => values[b]! - values[a]! || a - b);
      expect([...bestCells(values, cells, count)]).toEqual(sorted.slice(0, count).sort((a, b) => a - b));
      const ranked = ranks(values, cells);
      for (const a of cells) {
        expect(ranked[a]).toBeGreaterThanOrEqual(0);
        expect(ranked[a]).toBeLessThanOrEqual(1);
        for (const b of cells) expect(ranked[a]! < ranked[b]!).toBe(values[a]! < values[b]!);
      }
    }),
    { seed: SEED, numRuns: 500 },
  );
});

it("pools like the obvious loop, and shared scores once", () => {
  const scores = fc.float32Array({ noNaN: true, minLength: 1, maxLength: 40 });
  fc.assert(
    fc.property(scores, fc.nat(50), (values, distance) => {
      const best = pooled(() => values, distance);
      const want = values.map((_, i) =>
        Math.max(...values.slice(Math.max(0, i - distance), i + distance + 1)),
      );
      expect(best(0, 0)).toEqual(want);
      expect(best(3, 1)).toBe(best(0, 0));
    }),
    { seed: SEED },
  );
});
