/** Folds whose values are solved for, on the live engine, against the reference executor on the same bytes. */
import {
  type CacheView,
  type FitRequest,
  futureQueries,
  hashQueries,
  type MemoryTarget,
  type MergePlan,
  referenceExecutor,
  referenceOps,
  withFit,
} from "@kvfold/core";
import {
  type Bound,
  boundFor,
  checkFits,
  expectKeptBytes,
  expectReferenceRows,
  expectWithin,
} from "@kvfold/testkit";
import { describe, expect, it } from "vitest";
import type { LlamaSequence } from "../src/index.js";
import { CACHES, LLAMA, open, pairs, randomComposite, refused, SPECS, someTokens } from "./fixtures.js";
import { stateTarget } from "./reference/state-target.js";

const COUNT = 240;
const ROWS = 60;
const FREE = 20;
const tokens = someTokens(COUNT, LLAMA.vocabulary);

/** Some rows of every head are free; the request names the sample of the view. */
function fitted(view: CacheView, plan: MergePlan, options: Partial<FitRequest> = {}): MergePlan {
  const heads = view.shape.layers.reduce((sum, layer) => sum + layer.kvHeads, 0);
  const free = Uint8Array.from({ length: heads * plan.rows }, (_, i) => (i % plan.rows < FREE ? 1 : 0));
  const hash = view.signals.queries!.hash;
  const fit = {
    method: "ridge",
    lambda: 0.01,
    queries: hash,
    horizon: 512,
    maxRows: 4096,
    holdout: 8,
  } as const;
  return withFit(plan, { ...fit, free, ...options });
}

const fittedComposite = (view: CacheView): MergePlan => fitted(view, randomComposite(view, ROWS, 5));

/** The reference's answer to a plan, in a copy of the memory. */
async function byReference(
  before: MemoryTarget,
  plan: MergePlan,
  queries: CacheView["signals"]["queries"],
): Promise<MemoryTarget> {
  const copy = {
    ...before,
    keys: before.keys.map((bytes) => bytes.slice()),
    values: before.values.map((bytes) => bytes.slice()),
  };
  const destinations = Uint32Array.from({ length: plan.rows }, (_, row) => row);
  const transaction = await referenceExecutor.prepare(copy, plan, { destinations, queries });
  await transaction.commit();
  transaction.dispose();
  return copy;
}

/**
 * A weight in f32 against double, from the row for fits; below 2^-100 squares vanish. Turned queries are off by the
 * bound of a rotated row on either side.
 */
async function weightBound(lease: CacheView, layer: number): Promise<Bound> {
  const shape = lease.shape.layers[layer]!;
  const { keyDim, kvHeads } = shape;
  const last = lease.positions.at(-1)!;
  const queries = futureQueries(lease.signals.queries!, layer, shape, 0, { last });
  const keys = await lease.keys(layer, "stored");
  const score = 1 + longest(queries, keyDim) * longest(keys, keyDim);
  const sizes = { rows: queries.length / keyDim, cells: lease.shape.cells, keyDim, score };
  const { output } = boundFor("fit", "f32", { ...sizes, free: 1, lambda: 1, value: 1, length: 1 });
  const turned = boundFor("fold", "f32", { members: 1, magnitude: longest(queries, keyDim), rotated: true });
  const relative = output + 2 * turned.absolute * Math.sqrt(keyDim) * longest(keys, keyDim) * kvHeads;
  return { absolute: 2 ** -100, relative, ofBlockMax: 0, block: 1 };
}

function longest(rows: Float32Array, width: number): number {
  let most = 0;
  for (let i = 0; i < rows.length; i += width)
    most = Math.max(most, Math.hypot(...rows.subarray(i, i + width)));
  return most;
}

describe.each(SPECS)("$architecture", (spec) => {
  it.each(CACHES)("attends as the reference ($cacheType, flash attention $flashAttention)", async (cache) => {
    const { sequence } = await open(spec, cache);
    await sequence.prefill(tokens, { signals: ["queries"] });
    const lease = await sequence.lease();
    try {
      for (const layer of lease.shape.layers.keys()) {
        const options = { horizon: 100, maxRows: 150 };
        const want = await referenceOps.attend(lease, layer, options);
        const bound = await weightBound(lease, layer);
        for (const fitRows of [0, 61, 150]) {
          const got = await sequence.ops.attend(lease, layer, { ...options, fitRows });
          for (const name of ["maximum", "mean", "rms"] as const) {
            expectWithin(got[name], want[name], bound, `${name} of layer ${layer}`);
          }
        }
      }
    } finally {
      lease.release();
    }
  });

  it("attends with other queries than those of the view", async () => {
    const { sequence } = await open(spec, CACHES[0]);
    await sequence.prefill(tokens, { signals: ["queries"] });
    const lease = await sequence.lease();
    try {
      const { positions, layers } = lease.signals.queries!;
      const some = {
        positions: positions.slice(0, 5),
        layers: layers.map(
          (layer) =>
            layer && { ...layer, rows: layer.rows.slice(0, (5 * layer.rows.length) / positions.length) },
        ),
      };
      const queries = { ...some, hash: hashQueries(some) };
      const got = await sequence.ops.attend(lease, 1, { queries });
      const want = await referenceOps.attend(lease, 1, { queries });
      const all = await sequence.ops.attend(lease, 1);
      expectWithin(got.mean, want.mean, await weightBound(lease, 1), "mean");
      expect(got.mean).not.toEqual(all.mean);
    } finally {
      lease.release();
    }
  });

  it.each(CACHES)("fits as the reference ($cacheType, flash attention $flashAttention)", async (cache) => {
    const { sequence } = await open(spec, cache);
    await sequence.prefill(tokens, { signals: ["queries"] });
    await checkedFold(sequence, fittedComposite);
  });
});

/** Folds, and compares every row with what the reference executor makes of the same bytes. */
async function checkedFold(
  sequence: LlamaSequence,
  make: (view: CacheView) => MergePlan,
  attends = false,
): Promise<void> {
  const before = await stateTarget(sequence);
  const lease = await sequence.lease();
  const { queries } = lease.signals;
  const plan = make(lease);
  if (attends) {
    const { horizon, maxRows: fitRows } = plan.fit!;
    for (const layer of lease.shape.layers.keys())
      await sequence.ops.attend(lease, layer, { horizon, fitRows });
  }
  const { fits } = await sequence.apply(lease, plan);
  lease.release();
  expect(sequence.cells).toBe(plan.rows);
  const after = await stateTarget(sequence);
  const destinations = Uint32Array.from({ length: plan.rows }, (_, row) => row);
  const reference = await byReference(before, plan, queries);
  expectReferenceRows(before, after, reference, plan, destinations);
  expectKeptBytes(before, after, plan, destinations);
  const kept = await byReference(before, { ...plan, fit: null }, null);
  const fit = plan.fit!;
  checkFits({ plan, fit, queries: queries!, destinations, before, after, reference, kept }, fits ?? null);
  // random models have something to gain, or this test would show nothing
  expect(fits!.filter((outcome) => outcome.accepted).length).toBeGreaterThan(0);
}

it.each([
  ["all query rows", 2 ** 12],
  ["some of them", 200],
])("gives the same bits when it uses the outputs that attend gave of %s", async (_what, maxRows) => {
  const states: Uint8Array[] = [];
  for (const attends of [false, true]) {
    const { sequence } = await open(LLAMA, { cacheType: "f16" });
    await sequence.prefill(tokens, { signals: ["queries"] });
    const make = (view: CacheView): MergePlan => {
      const plan = fittedComposite(view);
      return { ...plan, fit: { ...plan.fit!, maxRows: Math.min(plan.fit!.maxRows, maxRows) } };
    };
    await checkedFold(sequence, make, attends);
    states.push(await sequence.stateBytes());
  }
  expect(Buffer.compare(states[0]!, states[1]!)).toBe(0);
});

it("fits on top of fits and of biased cells, with what was read since", async () => {
  const { sequence } = await open(LLAMA, { cacheType: "f32", flashAttention: "off" });
  await sequence.prefill(tokens.slice(0, 160), { signals: ["queries"] });
  await checkedFold(sequence, (view) => fitted(view, pairs(view), { lambda: 30 }));
  const first = (await sampled(sequence))!;
  await sequence.prefill(tokens.slice(160));
  const second = (await sampled(sequence))!;
  expect(first.positions).toHaveLength(160);
  expect(second.positions).toHaveLength(240);
  expect(second.hash).not.toBe(first.hash);
  await checkedFold(sequence, fittedComposite);
  // a fold changes no query
  expect((await sampled(sequence))!.hash).toBe(second.hash);
  expect((await sequence.decode(3)).every(Number.isFinite)).toBe(true);
});

async function sampled(sequence: LlamaSequence) {
  const lease = await sequence.lease();
  lease.release();
  return lease.signals.queries;
}

it("refuses the sample of another prompt, and changes nothing", async () => {
  const { sequence } = await open(LLAMA);
  await sequence.prefill(tokens, { signals: ["queries"] });
  const bytes = await sequence.stateBytes();
  const lease = await sequence.lease();
  const other = fitted(lease, randomComposite(lease, ROWS, 5), { queries: "0".repeat(64) });
  await refused(sequence.apply(lease, other), "KVFOLD_PLAN_FIT");
  lease.release();
  expect(Buffer.compare(await sequence.stateBytes(), bytes)).toBe(0);
  const plan = fittedComposite(await released(sequence));
  await sequence.clear();
  await sequence.prefill(tokens);
  const bare = await sequence.lease();
  await refused(sequence.apply(bare, plan), "KVFOLD_PLAN_FIT");
  await refused(sequence.ops.attend(bare, 0), "KVFOLD_SIGNAL_MISSING");
  bare.release();
});

async function released(sequence: LlamaSequence): Promise<CacheView> {
  const lease = await sequence.lease();
  lease.release();
  return lease;
}
