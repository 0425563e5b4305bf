/**
 * Proves once, on a tiny random model, that this llama.cpp keeps its cache the way the bridge believes: the bridge
 * reaches into classes that no version promises to keep.
 */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { KvfoldError, keepPlan } from "@kvfold/core";
import type { LlamaContext } from "../context/context.js";
import { loadUnchecked } from "../model/model.js";
import { WHO } from "../native/errors.js";
import { type LlamaSequence, stateOf } from "../sequence/sequence.js";
import { refreshBias } from "../sequence/slots.js";
import { TINY_LLAMA, tinyModelFile } from "../tiny-model/tiny-model.js";

const SPEC = {
  ...TINY_LLAMA,
  layers: 1,
  heads: 2,
  kvHeads: 1,
  embedding: 64,
  feedForward: 32,
  vocabulary: 32,
};
const TOKENS: readonly number[] = Array.from({ length: 40 }, (_, i) => (i * 7 + 3) % SPEC.vocabulary);
/** Cells that the fold drops. */
const DROPPED = { from: 10, to: 22 } as const;

let passed: Promise<void> | undefined;

/**
 * Runs once for this thread, in a few milliseconds; a failure is kept and told every time.
 * @throws KvfoldError KVFOLD_LLAMA_SELF_TEST, and what loading the libraries throws
 */
export function selfTest(): Promise<void> {
  passed ??= run();
  return passed;
}

async function run(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "kvfold-self-test-"));
  try {
    const modelPath = join(folder, "tiny.gguf");
    await writeFile(modelPath, tinyModelFile(SPEC));
    const model = await loadUnchecked({ modelPath });
    const context = await model.createContext({
      contextSize: 256,
      sequences: 2,
      flashAttention: "off",
      cacheType: "f32",
      threads: 1,
    });
    try {
      await checkContext(context);
    } finally {
      await context.dispose();
      await model.dispose();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function must(condition: boolean, what: string): void {
  if (condition) return;
  throw new KvfoldError("KVFOLD_LLAMA_SELF_TEST", what, {
    who: WHO,
    hint: "this build of llama.cpp cannot be folded; reinstall @node-llama-cpp/linux-x64 and rebuild the bridge",
  });
}

async function checkContext(context: LlamaContext): Promise<void> {
  must(context.supported === true, `the tiny model cannot be folded: ${String(context.supported)}`);
  const folded = context.sequence(0);
  const reference = context.sequence(1);
  await folded.prefill(TOKENS);
  const { logits: full } = await reference.prefill(TOKENS);
  checkCellMap(folded);
  await checkUndo(folded);
  await checkFold(folded, reference, full);
  await checkBias(folded);
}

/** Two independent sources must tell the same cells. */
function checkCellMap(sequence: LlamaSequence): void {
  const { context, id } = stateOf(sequence);
  const told = context.addon.cellMap(context.handle, id);
  const recorded = context.addon.recordedCellMap(context.handle, id);
  const same = (a: ArrayLike<number>, b: ArrayLike<number>): boolean =>
    a.length === b.length && Array.from(a).every((value, i) => value === b[i]);
  must(same(told.slots, recorded.slots), "cell table and state writer tell different cells");
  must(same(told.positions, recorded.positions), "cell table and state writer tell different positions");
  must(told.slots.length === TOKENS.length, `${TOKENS.length} tokens took ${told.slots.length} cells`);
}

/** A metadata commit that fails half way is undone without a trace. */
async function checkUndo(sequence: LlamaSequence): Promise<void> {
  const { context, id } = stateOf(sequence);
  const before = await sequence.stateBytes();
  const { slots, positions } = context.addon.cellMap(context.handle, id);
  let failed = false;
  try {
    await context.addon.commitCells(context.handle, id, positions, slots, 9);
  } catch {
    failed = true;
  }
  must(
    failed && context.addon.cellMap(context.handle, id).slots.length === 0,
    "a failed commit does not empty the sequence",
  );
  await context.addon.commitCells(context.handle, id, positions, slots, -1);
  must(Buffer.compare(before, await sequence.stateBytes()) === 0, "the old cells cannot be put back");
}

/**
 * Folding cells away in place must give the logits of llama.cpp's own removal. Both sum the same numbers in another
 * order: f32 sums of 28 cells differ by some 1e-6, dropping the cells moves logits by some 1e-1.
 */
async function checkFold(folded: LlamaSequence, reference: LlamaSequence, full: Float32Array): Promise<void> {
  const lease = await folded.lease();
  const kept = TOKENS.map((_, cell) => cell).filter((cell) => cell < DROPPED.from || cell >= DROPPED.to);
  await folded.apply(lease, keepPlan(lease, kept));
  lease.release();
  const { slots } = folded.cellMap();
  must(
    slots.every((slot, cell) => slot === cell),
    "the folded cells are not packed to the front",
  );
  const { context, id } = stateOf(reference);
  context.addon.removeRange(context.handle, id, DROPPED.from, DROPPED.to);
  const removed = (
    await context.addon.decode(context.handle, {
      sequence: id,
      start: TOKENS.length,
      tokens: Int32Array.of(1),
      logits: 1,
      logProbs: false,
      previous: null,
    })
  ).logits!;
  const here = await folded.decode(1);
  const scale = largest(full);
  must(distance(here, removed) < 1e-4 * scale, "a fold does not give the logits of llama.cpp's own removal");
}

/** The bias reaches the mask, and only while it is not 0. */
async function checkBias(sequence: LlamaSequence): Promise<void> {
  const state = stateOf(sequence);
  const snapshot = await sequence.snapshot();
  const plain = await sequence.decode(2);
  await sequence.restore(snapshot);
  const { addon, handle } = state.context;
  const rewrites = addon.biasRewrites(handle);
  addon.setBias(handle, state.id, Uint32Array.of(3), Float32Array.of(8));
  const biased = await sequence.decode(2);
  must(addon.biasRewrites(handle) === rewrites + 1, "the attention mask is not where it is expected");
  must(distance(plain, biased) > 1e-3 * largest(plain), "a bias in the attention mask has no effect");
  refreshBias(state, null);
  await sequence.restore(snapshot);
  must(distance(plain, await sequence.decode(2)) === 0, "a removed bias leaves a trace");
}

const largest = (logits: Float32Array): number =>
  logits.reduce((most, value) => Math.max(most, Math.abs(value)), 0);

function distance(a: Float32Array, b: Float32Array): number {
  return a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0);
}
