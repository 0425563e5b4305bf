/** The middle and other quantiles of measurements. */
import { expect, test } from "vitest";
import { median, quantile } from "./measure.js";

test.each([
  [[], Number.NaN],
  [[3], 3],
  [[3, 1, 2], 2],
  [[4, 1, 3, 2], 2.5],
])("median of %j is %d", (values, expected) => expect(median(values)).toBe(expected));

test("median leaves its input as it was", () => {
  const values = [3, 1, 2];
  median(values);
  expect(values).toEqual([3, 1, 2]);
});

test.each([
  [[7], 0.95, 7],
  [[0, 10], 0.25, 2.5],
  [[1, 2, 3, 4, 5], 0, 1],
  [[1, 2, 3, 4, 5], 1, 5],
  [[1, 2, 3, 4, 5], 0.9, 4.6],
])("quantile of %j at %d is %d", (sorted, share, expected) =>
  // tenths are not exact in binary
  expect(quantile(sorted, share)).toBeCloseTo(expected, 12),
);

test("there is no quantile of nothing", () => expect(quantile([], 0.5)).toBeNaN());
