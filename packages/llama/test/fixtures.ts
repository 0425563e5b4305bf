/** Tiny models and contexts for tests; everything is freed at the end of the test that asked for it. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type CacheView,
  createRandom,
  KvfoldError,
  type KvfoldErrorCode,
  type MergePlan,
} from "@kvfold/core";
import { composite, shared } from "@kvfold/testkit";
import { expect, onTestFinished } from "vitest";
import type { ContextOptions } from "../src/context/options.js";
import { type LlamaContext, type LlamaModel, type LlamaSequence, loadModel } from "../src/index.js";
import { TINY_LLAMA, type TinyModelSpec, tinyModelFile } from "../src/tiny-model/tiny-model.js";

/** Interleaved RoPE, grouped queries, three layers. */
export const LLAMA: TinyModelSpec = { ...TINY_LLAMA, layers: 3 };
/** Half pairing, norms on queries and keys, one KV head for two query heads. */
export const QWEN: TinyModelSpec = { ...TINY_LLAMA, architecture: "qwen3", ropeBase: 1_000_000, seed: 2 };
/** A global layer beside windowed ones. */
export const GEMMA: TinyModelSpec = {
  ...TINY_LLAMA,
  architecture: "gemma3",
  layers: 6,
  window: 64,
  seed: 3,
};

export const SPECS: readonly TinyModelSpec[] = [LLAMA, QWEN];

/** What a context may look like; quantised values need flash attention. */
export const CACHES: readonly ContextOptions[] = [
  { cacheType: "f16", flashAttention: "on" },
  { cacheType: "f16", flashAttention: "off" },
  { cacheType: "q8_0", flashAttention: "on" },
  { cacheType: "f32", flashAttention: "off" },
];

export const cacheName = ({ cacheType, flashAttention }: ContextOptions): string =>
  `${cacheType}, flash attention ${flashAttention}`;

/** Writes a file that is gone after the test. */
export async function temporaryFile(bytes: Uint8Array | string, name = "tiny.gguf"): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "kvfold-llama-test-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const path = join(folder, name);
  await writeFile(path, bytes);
  return path;
}

export async function openModel(spec: TinyModelSpec): Promise<LlamaModel> {
  const model = await loadModel({ modelPath: await temporaryFile(tinyModelFile(spec)) });
  onTestFinished(() => model.dispose());
  return model;
}

export interface Opened {
  readonly model: LlamaModel;
  readonly context: LlamaContext<LlamaModel>;
  readonly sequence: LlamaSequence;
}

/** A context of one thread; 1024 cells unless told otherwise. */
export async function open(spec: TinyModelSpec, options: ContextOptions = {}): Promise<Opened> {
  const model = await openModel(spec);
  const context = await model.createContext({ contextSize: 1024, threads: 1, ...options });
  onTestFinished(() => context.dispose());
  return { model, context, sequence: context.sequence() };
}

/** Seeded token ids. */
export function someTokens(count: number, vocabulary: number, seed = 7): number[] {
  const random = createRandom(seed);
  return Array.from({ length: count }, () => Math.floor(random() * vocabulary));
}

/** Cells to keep: sinks, a recent window, and every n-th between. */
export function everyNth(cells: number, n: number, sinks = 4, recent = 16): number[] {
  return Array.from({ length: cells }, (_, cell) => cell).filter(
    (cell) => cell < sinks || cell >= cells - recent || cell % n === 0,
  );
}

export const sameBytes = (a: ArrayBufferView, b: ArrayBufferView): boolean =>
  Buffer.compare(
    Buffer.from(a.buffer, a.byteOffset, a.byteLength),
    Buffer.from(b.buffer, b.byteOffset, b.byteLength),
  ) === 0;

/** Leases, plans, applies. */
export async function applied(
  sequence: LlamaSequence,
  make: (view: CacheView) => MergePlan,
): Promise<MergePlan> {
  const lease = await sequence.lease();
  try {
    const plan = make(lease);
    await sequence.apply(lease, plan);
    return plan;
  } finally {
    lease.release();
  }
}

/** Heads keep different tokens: a random choice for each, the last cells in all of them. */
export function randomComposite(view: CacheView, rows: number, seed: number): MergePlan {
  const random = createRandom(seed);
  const { cells, layers } = view.shape;
  const orders = layers.flatMap((layer) =>
    Array.from({ length: layer.kvHeads }, () =>
      Array.from({ length: cells }, (_, cell) => (cell >= cells - 8 ? -1 : random())),
    ),
  );
  return composite(view, { rows, orders });
}

/** Pairs of neighbours become their mean with the logarithm of their count as bias; the last cells stay. */
export function pairs(view: CacheView, squeeze = 0): MergePlan {
  const { cells } = view.shape;
  const group = Array.from({ length: cells }, (_, cell) =>
    cell >= cells - 8 ? cells + cell : Math.floor(cell / 2),
  );
  return shared(view, { group, logCount: true, squeeze });
}

/** Wants a KvfoldError of this code. */
export async function refused(work: Promise<unknown>, code: KvfoldErrorCode): Promise<KvfoldError> {
  const error = await work.then(
    () => null,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(KvfoldError);
  expect(error).toMatchObject({ code });
  return error as KvfoldError;
}
