/** Divergences against sums written out, and at the edges of what logits can be. */
import { createRandom } from "@kvfold/core";
import { describe, expect, test } from "vitest";
import { compareExpected, expected } from "./divergence.js";

const logits = (...values: number[]): Float32Array => Float32Array.from(values);
/** Logits of a distribution, moved by a constant that must not matter. */
const of = (shift: number, ...shares: number[]): Float32Array =>
  logits(...shares.map((share) => Math.log(share) + shift));
/** Logits are stored as f32: 24 bits, so logs of shares are off by some 1e-7. */
const DIGITS = 6;

describe("expected", () => {
  test("names the most likely token, the first of equals, and the sum", () => {
    expect(expected(logits(0, 2, 2, 1))).toMatchObject({ top: 1 });
    expect(expected(logits(0, 0, 0, 0)).logSum).toBeCloseTo(Math.log(4), 12);
    expect(expected(logits(1000, 1000)).logSum).toBeCloseTo(1000 + Math.log(2), 9);
  });

  test.each([
    ["nothing", []],
    ["what is no number", [1, Number.NaN]],
    ["infinity", [1, Number.POSITIVE_INFINITY]],
    ["nothing that can be", [Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY]],
  ])("refuses %s", (_, values) => {
    expect(() => expected(logits(...values))).toThrowError(
      expect.objectContaining({ code: "KVFOLD_DECODE" }),
    );
  });
});

describe("compareExpected", () => {
  test("is the sum of p log(p / q)", () => {
    const found = compareExpected(expected(of(3, 0.5, 0.25, 0.25)), expected(of(-8, 0.25, 0.5, 0.25)), 1);
    expect(found.kl).toBeCloseTo(0.5 * Math.log(2) + 0.25 * Math.log(0.5), DIGITS);
    expect(found.sameTop).toBe(false);
    expect(found.fullNll).toBeCloseTo(Math.log(4), DIGITS);
    expect(found.foldedNll).toBeCloseTo(Math.log(2), DIGITS);
  });

  test("is nothing for the same logits, and never below", () => {
    const random = createRandom(5);
    for (let i = 0; i < 50; i++) {
      const row = Float32Array.from({ length: 300 }, () => 20 * random() - 10);
      expect(compareExpected(expected(row), expected(row.slice()), 0).kl).toBe(0);
      const near = row.map((value) => Math.fround(value + 1e-6 * random()));
      expect(compareExpected(expected(row), expected(near), 0).kl).toBeGreaterThanOrEqual(0);
    }
  });

  test("tokens that are ruled out take no part, unless only the fold rules them out", () => {
    const out = Number.NEGATIVE_INFINITY;
    expect(compareExpected(expected(logits(1, 1, out)), expected(logits(1, 1, out)), 0).kl).toBe(0);
    expect(() => compareExpected(expected(logits(1, 1)), expected(logits(1, out)), 0)).toThrowError(
      expect.objectContaining({ code: "KVFOLD_DECODE" }),
    );
  });
});
