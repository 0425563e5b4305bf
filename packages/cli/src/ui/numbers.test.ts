/** Numbers as people read them. */
import { expect, test } from "vitest";
import { formatBytes, formatCount, formatDuration, formatMeasure, formatWhole, plural } from "./numbers.js";

test.each([
  [0, "0 B"],
  [1023, "1023 B"],
  [1024, "1.0 KiB"],
  [9_437_184, "9.0 MiB"],
  [200 * 1024, "200 KiB"],
  [3 * 2 ** 40, "3.0 TiB"],
  [5000 * 2 ** 40, "5000 TiB"],
])("%i bytes", (bytes, text) => expect(formatBytes(bytes)).toBe(text));

test.each([
  [7_998_720, "8.0 million"],
  [1.35e9, "1.4 billion"],
  [8192, "8,192"],
])("a count of %i", (count, text) => expect(formatCount(count)).toBe(text));

test.each([
  [0.123, "0.12"],
  [12.34, "12.3"],
  [123.4, "123"],
  [Number.NaN, "-"],
])("a measure of %d", (value, text) => expect(formatMeasure(value)).toBe(text));

test("plurals", () => {
  expect([plural(1, "trial"), plural(1000, "trial")]).toEqual(["1 trial", "1,000 trials"]);
  expect(formatWhole(1234567)).toBe("1,234,567");
});

test.each([
  [3, "1 s"],
  [42_000, "42 s"],
  [750_000, "13 min"],
  [9_000_000, "2.5 h"],
])("%i milliseconds", (milliseconds, text) => expect(formatDuration(milliseconds)).toBe(text));
