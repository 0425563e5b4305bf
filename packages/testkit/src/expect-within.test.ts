/** The comparison passes what is allowed, and shows what is not. */
import { describe, expect, it } from "vitest";
import { allowances, expectWithin } from "./expect-within.js";

const bound = (part: Partial<{ absolute: number; relative: number; ofBlockMax: number; block: number }>) => ({
  absolute: 0,
  relative: 0,
  ofBlockMax: 0,
  block: 32,
  ...part,
});

describe("allowances", () => {
  it("adds the absolute, the relative and the block part", () => {
    const expected = new Float64Array(34).fill(1);
    expected[3] = -8;
    expected[33] = 4;
    const allowed = allowances(expected, bound({ absolute: 0.5, relative: 0.25, ofBlockMax: 0.125 }));
    expect(allowed[0]).toBe(0.5 + 0.25 + 1);
    expect(allowed[3]).toBe(0.5 + 2 + 1);
    expect(allowed[32]).toBe(0.5 + 0.25 + 0.5);
  });

  it("takes the whole array as one block", () => {
    const allowed = allowances([1, -10, 2], bound({ ofBlockMax: 0.1, block: Number.POSITIVE_INFINITY }));
    expect([...allowed]).toEqual([1, 1, 1]);
  });
});

describe("expectWithin", () => {
  it("passes at the bound and fails past it", () => {
    expectWithin([1.5], [1], bound({ absolute: 0.5 }), "row");
    expect(() => expectWithin([1.51], [1], bound({ absolute: 0.5 }), "row")).toThrow(/row: 1 of 1/);
  });

  it("lists index, got, want and allowed of the first mismatches, and counts the rest", () => {
    const want = new Float64Array(20);
    const got = want.map((_, i) => (i < 5 ? 0 : i));
    expect(() => expectWithin(got, want, bound({ absolute: 1 }), "values")).toThrow(
      /values: 15 of 20 elements.*worst by a factor of 19.*\[5\] got 5, want 0, error 5\.00e\+0, allowed 1\.00e\+0.*and 7 more/s,
    );
  });

  it("never passes a NaN for a number, or a number for a NaN", () => {
    const wide = bound({ absolute: Number.MAX_VALUE });
    expect(() => expectWithin([Number.NaN], [1], wide, "a")).toThrow();
    expect(() => expectWithin([1], [Number.NaN], wide, "b")).toThrow();
    expect(() => expectWithin([Number.POSITIVE_INFINITY], [1], wide, "c")).toThrow();
    expectWithin(
      [Number.NaN, Number.POSITIVE_INFINITY],
      [Number.NaN, Number.POSITIVE_INFINITY],
      wide,
      "same",
    );
  });

  it("fails on another length", () => {
    expect(() => expectWithin([1], [1, 2], bound({ absolute: 9 }), "short")).toThrow(
      /got 1 elements, want 2/,
    );
  });
});
