/** Settings of property tests: a fixed seed, so that a failure repeats, and more runs on request. */

/** What `fc.assert` takes. */
export interface Runs {
  readonly seed: number;
  readonly numRuns: number;
}

/**
 * Settings for `fc.assert`. The environment variable KVFOLD_FAST_CHECK_RUNS multiplies the runs; the seed stays.
 * @param runs runs of a normal test
 */
export function fuzz(runs: number, seed = 20_240): Runs {
  const factor = Number(process.env.KVFOLD_FAST_CHECK_RUNS ?? 1);
  return { seed, numRuns: Math.ceil(runs * (Number.isFinite(factor) && factor > 0 ? factor : 1)) };
}
