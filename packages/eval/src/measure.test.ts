/** The middle of measurements. */
import { expect, test } from "vitest";
import { median } from "./measure.js";

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
