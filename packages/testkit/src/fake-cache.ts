/** Seeded caches over fake memory: what strategies are tested on. */
import { createMemoryCache, type Executor, type MemoryCache, type MemoryTarget } from "@kvfold/core";
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
  const target = fakeTarget(seed, options);
  const { capacity, slots, keys, values, positions, sources, counts, bias, tokens, tokenLogProbs } = target;
  return createMemoryCache({
    name: "fake",
    layers: target.shape.layers,
    capacity,
    slots,
    keys,
    values,
    positions,
    sources,
    counts,
    bias,
    tokens: options.withoutTokens ? null : tokens,
    tokenLogProbs: options.withoutSignals ? null : tokenLogProbs,
    queries: options.withoutSignals ? null : fakeQueries(seed, target.shape, options.samples ?? SAMPLES),
    repeat: options.withoutSignals ? null : fakeRepeat(seed, target.shape, options.needles),
    tokenText: (token) => ` t${token}`,
    ...(options.executor ? { executor: options.executor } : {}),
  });
}
