/** Intervals: what they hold, how wide they are, and what is refused. */
import { createRandom } from "@kvfold/core";
import { describe, expect, test } from "vitest";
import { bootstrapMean } from "./bootstrap.js";

const normal = (random: () => number): number =>
  Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());

describe("bootstrapMean", () => {
  test("the same seed gives the same interval, another seed a near one", () => {
    const values = [0.1, 0.4, 0.2, 0.9, 0.3, 0.5];
    expect(bootstrapMean(values, { seed: 7 })).toEqual(bootstrapMean(values, { seed: 7 }));
    const [one, two] = [1, 2].map((seed) => bootstrapMean(values, { seed }));
    expect(one).not.toEqual(two);
    // 10,000 resamples place a quantile of these values to within a few hundredths
    expect(Math.abs(one!.low - two!.low)).toBeLessThan(0.03);
  });

  test("equal values leave no doubt, one value leaves all of it", () => {
    expect(bootstrapMean([2, 2, 2])).toEqual({ mean: 2, low: 2, high: 2 });
    expect(bootstrapMean([2])).toEqual({ mean: 2, low: Number.NaN, high: Number.NaN });
  });

  test("is as wide as the normal approximation says, for many values", () => {
    const random = createRandom(3);
    const values = Array.from({ length: 400 }, () => 5 + normal(random));
    const { mean, low, high } = bootstrapMean(values);
    expect(mean).toBeCloseTo(5, 0);
    // 2 x 1.96 / sqrt(400) = 0.196; the sample's own spread differs by some 4 %
    expect(high - low).toBeGreaterThan(0.17);
    expect(high - low).toBeLessThan(0.22);
    expect(low).toBeLessThan(mean);
    expect(high).toBeGreaterThan(mean);
  });

  test("holds the true mean about 19 times in 20", () => {
    const random = createRandom(11);
    let held = 0;
    for (let sample = 0; sample < 200; sample++) {
      const { low, high } = bootstrapMean(
        Array.from({ length: 30 }, () => normal(random)),
        { resamples: 500, seed: sample },
      );
      if (low <= 0 && high >= 0) held += 1;
    }
    // 200 draws at 0.93 to 0.95: four standard deviations are 14
    expect(held).toBeGreaterThan(172);
    expect(held).toBeLessThan(200);
  });

  test.each([
    ["nothing", [], {}],
    ["what is no number", [1, Number.NaN], {}],
    ["infinity", [1, Number.POSITIVE_INFINITY], {}],
    ["no resamples", [1, 2], { resamples: 0 }],
    ["a million million resamples", [1, 2], { resamples: 1e12 }],
  ])("refuses %s", (_, values, options) => {
    expect(() => bootstrapMean(values, options)).toThrowError(
      expect.objectContaining({ code: "KVFOLD_ARGUMENT" }),
    );
  });
});
