/**
 * Random lives of several sequences in one context: reading, folding, failing, snapshots, rewinds, clearing. After each
 * life the logits of every sequence agree with attention in double over the rows that lie in the cache.
 */
import { createRandom, type KvfoldError } from "@kvfold/core";
import { boundFor, expectWithin, fuzz } from "@kvfold/testkit";
import fc from "fast-check";
import { expect, it } from "vitest";
import type { ContextOptions } from "../src/context/options.js";
import type { LlamaSequence, Snapshot } from "../src/index.js";
import { stateOf } from "../src/sequence/sequence.js";
import { applied, LLAMA, open, pairs, randomComposite, someTokens } from "./fixtures.js";
import { referenceModel } from "./reference/forward.js";
import { readCache } from "./reference/read-rows.js";

const SPEC = { ...LLAMA, layers: 2 };
const SEQUENCES = 3;
const CONTEXT = 256;

const step = fc.record({
  id: fc.nat(SEQUENCES - 1),
  kind: fc.constantFrom(
    "read",
    "read",
    "composite",
    "pairs",
    "squeeze",
    "fault",
    "snapshot",
    "restore",
    "rewind",
    "clear",
  ),
  amount: fc.nat(40),
  seed: fc.nat(9999),
});

interface Life {
  readonly sequences: readonly LlamaSequence[];
  readonly snapshots: Snapshot[];
}

/** Errors that a life may meet; anything else is a fault of ours. */
const EXPECTED = [
  "KVFOLD_CACHE_FULL",
  "KVFOLD_CACHE_EMPTY",
  "KVFOLD_REWIND",
  "KVFOLD_FAULT",
  "KVFOLD_ARGUMENT",
];

async function live(
  life: Life,
  { id, kind, amount, seed }: { id: number; kind: string; amount: number; seed: number },
) {
  const sequence = life.sequences[id]!;
  const random = createRandom(seed);
  const some = Math.max(1, Math.ceil((sequence.cells * amount) / 40));
  if (kind === "read") await sequence.prefill(someTokens(amount + 1, SPEC.vocabulary, seed));
  else if (kind === "composite") await applied(sequence, (view) => randomComposite(view, some, seed));
  else if (kind === "pairs") await applied(sequence, (view) => pairs(view));
  else if (kind === "squeeze") await applied(sequence, (view) => pairs(view, 2));
  else if (kind === "fault") await fail(sequence, Math.floor(random() * 60));
  else if (kind === "snapshot") life.snapshots.push(await sequence.snapshot());
  else if (kind === "restore" && life.snapshots.length > 0) {
    await sequence.restore(life.snapshots[Math.floor(random() * life.snapshots.length)]!);
  } else if (kind === "rewind") await sequence.rewind(Math.max(0, sequence.nextPosition - amount));
  else if (kind === "clear") await sequence.clear();
}

async function fail(sequence: LlamaSequence, at: number): Promise<void> {
  const state = stateOf(sequence);
  state.faults = { metadataReadAt: at };
  try {
    await applied(sequence, (view) => pairs(view));
  } finally {
    state.faults = {};
  }
}

async function checkSequence(sequence: LlamaSequence, cache: ContextOptions): Promise<void> {
  const position = sequence.nextPosition;
  const logits = await sequence.decode(5).catch((error: KvfoldError) => {
    if (error.code === "KVFOLD_CACHE_FULL") return null;
    throw error;
  });
  if (logits === null) return;
  const rows = await readCache(sequence);
  const bound = boundFor("logits", cache.cacheType!, {
    flashAttention: cache.flashAttention === "on",
    layers: SPEC.layers,
    cells: rows.positions.length,
    maxBias: Math.max(0, ...Array.from(rows.bias ?? [0], Math.abs)),
  });
  expectWithin(logits, referenceModel(SPEC).attendOver(5, position, rows), bound, sequence.name);
}

it.each([
  { cacheType: "f16", flashAttention: "on", unified: true },
  { cacheType: "f16", flashAttention: "off", unified: true },
  { cacheType: "q8_0", flashAttention: "on", unified: false },
] as const)(
  "random lives end in the right logits: $cacheType, $flashAttention, unified $unified",
  async (cache) => {
    const { context } = await open(SPEC, { ...cache, contextSize: CONTEXT, sequences: SEQUENCES });
    const sequences = Array.from({ length: SEQUENCES }, (_, id) => context.sequence(id));
    const property = fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 14 }), async (steps) => {
      for (const sequence of sequences) await sequence.clear();
      const life: Life = { sequences, snapshots: [] };
      for (const now of steps) {
        await live(life, now).catch((error: KvfoldError) => {
          expect(EXPECTED, `${error.stack}`).toContain(error.code);
        });
        const taken = sequences.flatMap((sequence) => Array.from(sequence.cellMap().slots));
        if (cache.unified) expect(new Set(taken).size).toBe(taken.length);
      }
      for (const sequence of sequences) await checkSequence(sequence, cache);
    });
    await fc.assert(property, fuzz(12));
  },
);
