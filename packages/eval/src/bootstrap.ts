/** How sure a mean is: percentile intervals by resampling, seeded (Efron, 1979). */
import { createRandom, KvfoldError } from "@kvfold/core";
import { quantile } from "./measure.js";

/** A mean and the ends of its 95 % interval; the ends are NaN where there are fewer than two values. */
export interface Interval {
  readonly mean: number;
  readonly low: number;
  readonly high: number;
}

export interface BootstrapOptions {
  /** Default 10,000. */
  readonly resamples?: number;
  /** Default 1. The same seed gives the same interval. */
  readonly seed?: number;
}

const RESAMPLES = 10_000;
const MOST_RESAMPLES = 1_000_000;
/** Share of the resamples that lie outside, on each side. */
const TAIL = 0.025;

/**
 * The mean of values that are independent of each other, as paired differences of windows or trials are, and its 95 %
 * interval: from the means of resamples, drawn with replacement, 2.5 % are cut off on each side.
 *
 * @param values at least one finite number
 * @throws KvfoldError KVFOLD_ARGUMENT
 */
export function bootstrapMean(values: readonly number[], options: BootstrapOptions = {}): Interval {
  const { resamples = RESAMPLES, seed = 1 } = options;
  const wrong = !Number.isInteger(resamples) || resamples < 1 || resamples > MOST_RESAMPLES;
  if (wrong || values.length === 0 || !values.every(Number.isFinite)) {
    throw new KvfoldError("KVFOLD_ARGUMENT", "the bootstrap needs finite values and resamples", {
      who: "bootstrap",
      hint: `give at least one value, and 1 to ${MOST_RESAMPLES} resamples`,
    });
  }
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  if (values.length < 2) return { mean, low: Number.NaN, high: Number.NaN };
  const random = createRandom(seed);
  const means = new Float64Array(resamples);
  for (let resample = 0; resample < resamples; resample++) {
    let sum = 0;
    for (let draw = 0; draw < values.length; draw++) sum += values[Math.floor(random() * values.length)]!;
    means[resample] = sum / values.length;
  }
  means.sort();
  return { mean, low: quantile(means, TAIL), high: quantile(means, 1 - TAIL) };
}
