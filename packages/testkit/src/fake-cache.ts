/** Seeded caches over fake memory: what strategies are tested on. */
import {
  createMemoryCache,
  type Executor,
  type MemoryCache,
  type MemoryTarget,
  type QuerySample,
  type RepeatAttention,
} from "@kvfold/core";
import { fakeQueries, fakeRepeat } from "./fake-queries.js";
import { type FakeTargetOptions, fakeTarget } from "./fake-target.js";

/** A cache over fake memory. */
export interface FakeCacheOptions extends FakeTargetOptions {
  /** Leave out the token ids. [false] */
  readonly withoutTokens?: boolean;
  /** Leave out the captured signals. [false] */
  readonly withoutSignals?: boolean;
  /** Sampled queries. [64] */
  readonly samples?: number;
  /** [the reference executor of core] */
  readonly executor?: Executor<MemoryTarget>;
}

/** Enough that a fit of all cells of a small cache is never underdetermined. */
const SAMPLES = 64;

/**
 * A cache in memory with seeded content, of any shape, type and layout.
 *
 * @example
 * const cache = fakeMemoryCache(1, { cells: 64, keyType: "q8_0", needles: [20], duplicates: [[3, 40]] });
 * await fold(cache, { strategy, keep: { ratio: 4 } });
 */
export function fakeMemoryCache(seed: number, options: FakeCacheOptions = {}): MemoryCache {
  return fakeCacheMaker(seed, options)();
}

/**
 * Makes caches that are all equal and share nothing. Inventing content takes most of the time that a cache takes: it is
 * done once, and copied.
 *
 * @example
 * const fresh = fakeCacheMaker(1, { cells: 64 });
 * const [first, second] = [fresh(), fresh()];
 */
export function fakeCacheMaker(seed: number, options: FakeCacheOptions = {}): () => MemoryCache {
  const target = fakeTarget(seed, options);
  const { withoutSignals = false, withoutTokens = false, samples = SAMPLES, executor } = options;
  const queries = withoutSignals ? null : fakeQueries(seed, target.shape, samples);
  const repeat = withoutSignals ? null : fakeRepeat(seed, target.shape, options.needles);
  // what a cache in memory is made of is copied by it, but for the signals
  return () =>
    createMemoryCache({
      ...target,
      name: "fake",
      layers: target.shape.layers,
      tokens: withoutTokens ? null : target.tokens,
      tokenLogProbs: withoutSignals ? null : target.tokenLogProbs,
      queries: queries && copyQueries(queries),
      repeat: repeat && copyRepeat(repeat),
      tokenText: (token) => ` t${token}`,
      ...(executor ? { executor } : {}),
    });
}

const copyQueries = (sample: QuerySample): QuerySample => ({
  ...sample,
  positions: sample.positions.slice(),
  layers: sample.layers.map((layer) => layer && { ...layer, rows: layer.rows.slice() }),
});

const copyRepeat = ({ layers }: RepeatAttention): RepeatAttention => ({
  layers: layers.map((weights) => weights?.slice() ?? null),
});
