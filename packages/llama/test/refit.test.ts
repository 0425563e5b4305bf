/** The whole strategy: what refit does on the live engine is what it does on the same bytes with the slow reference. */
import { createMemoryCache, fold, type MemoryCache, type MergePlan } from "@kvfold/core";
import { type RefitOptions, refit } from "@kvfold/strategies";
import { checkFits, expectKeptBytes, expectReferenceRows } from "@kvfold/testkit";
import { expect, it } from "vitest";
import type { LlamaSequence } from "../src/index.js";
import { CACHES, LLAMA, open, QWEN } from "./fixtures.js";
import { stateTarget } from "./reference/state-target.js";

const COUNT = 240;
const RATIO = 4;
const SMALL: Partial<RefitOptions> = { sinks: 2, recent: 16, horizon: 64 };

/** The same cells and signals in typed arrays: plans and folds there are made by the reference in double. */
async function copyOf(sequence: LlamaSequence): Promise<MemoryCache> {
  const { shape, capacity, keys, values, positions } = await stateTarget(sequence);
  const lease = await sequence.lease();
  lease.release();
  const { queries, tokenLogProbs } = lease.signals;
  const { tokens } = lease;
  return createMemoryCache({
    ...{ layers: shape.layers, capacity, keys, values, positions },
    ...{ tokens, queries, tokenLogProbs },
  });
}

const SHARED: Partial<RefitOptions> = { sharedPins: 0.2, headPins: 0.2 };

it.each([
  { spec: LLAMA, cache: CACHES[0]!, options: {} },
  { spec: LLAMA, cache: CACHES[1]!, options: SHARED },
  { spec: LLAMA, cache: CACHES[2]!, options: SHARED },
  { spec: LLAMA, cache: CACHES[3]!, options: {} },
  { spec: QWEN, cache: CACHES[0]!, options: SHARED },
  { spec: QWEN, cache: CACHES[2]!, options: {} },
])("$spec.architecture, $cache.cacheType, flash attention $cache.flashAttention, $options", async (one) => {
  // no token twice: equal tokens have equal keys in the first layer, and which of two equals stays is a matter of bits
  const spec = { ...one.spec, vocabulary: COUNT };
  const { sequence } = await open(spec, one.cache);
  const strategy = refit({ ...SMALL, ...one.options });
  await sequence.prefill([...Array(COUNT).keys()], { signals: strategy.signals });
  const before = await stateTarget(sequence);
  const copy = await copyOf(sequence);
  const keep = { ratio: RATIO };

  const { plan: wanted } = await fold(copy, { strategy, keep });
  const { plan } = await fold(sequence, { strategy, keep, dryRun: true });

  expect(plan.rows).toBe(COUNT / RATIO);
  expect(plan.members).toEqual(wanted.members);
  expect(plan.positions).toEqual(wanted.positions);
  expect(plan.fit!.free).toEqual(wanted.fit!.free);
  const lease = await sequence.lease();
  const { fits } = await sequence.apply(lease, plan);
  lease.release();
  const queries = lease.signals.queries!;
  const destinations = Uint32Array.from({ length: plan.rows }, (_, row) => row);
  const after = await stateTarget(sequence);
  const reference = copy.memory();
  expectReferenceRows(before, after, reference, plan, destinations);
  expectKeptBytes(before, after, plan, destinations);
  const kept = await withoutFit(before, plan);
  checkFits({ plan, fit: plan.fit!, queries, destinations, before, after, reference, kept }, fits!);
  expect(fits!.some((outcome) => outcome.accepted)).toBe(true);
});

/** The rows of a plan without its fit. */
async function withoutFit(
  before: Awaited<ReturnType<typeof stateTarget>>,
  plan: MergePlan,
): Promise<ReturnType<MemoryCache["memory"]>> {
  const { shape, capacity, keys, values, positions } = before;
  const cache = createMemoryCache({ layers: shape.layers, capacity, keys, values, positions });
  const lease = await cache.lease();
  await cache.apply(lease, { ...plan, fit: null });
  lease.release();
  return cache.memory();
}
