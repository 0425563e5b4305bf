/** A context: the memory for sequences, made from a model. */
import { trialFold } from "../device/trial.js";
import type { LlamaAddon, ModelHandle, RawContext, RawModel } from "../native/addon.js";
import { failure, wrongArgument } from "../native/errors.js";
import { dropQueries } from "../sequence/queries.js";
import { REPEAT_INSTRUCTION } from "../sequence/repeat.js";
import { createSequence, type LlamaSequence } from "../sequence/sequence.js";
import { createGate } from "./gate.js";
import { type ContextOptions, contextOptions } from "./options.js";
import { type CacheLayout, cacheLayout } from "./shape.js";
import { type ContextState, lazyAccess, type Reach, reachOf } from "./state.js";

/** `Model` is what `context.model` returns. */
export interface LlamaContext<Model = unknown> {
  /** Cells that one sequence may use; a multiple of 256. */
  readonly contextSize: number;
  readonly batchSize: number;
  readonly model: Model;
  /** true, or why sequences of this context cannot be folded. */
  readonly supported: true | string;
  /** Devices that hold the cache, by name: "CPU", or for example "Vulkan0". Empty when it cannot be folded. */
  readonly devices: readonly string[];
  /**
   * A sequence, default 0; the same object every time.
   * @throws KvfoldError KVFOLD_ARGUMENT, KVFOLD_DISPOSED
   */
  sequence(id?: number): LlamaSequence;
  /** Waits for what is at work, then frees the memory. Twice does no harm. */
  dispose(): Promise<void>;
}

export interface ContextSource<Model> {
  readonly addon: LlamaAddon;
  readonly handle: ModelHandle;
  readonly raw: RawModel;
  readonly model: Model;
  /** What the model alone tells: true, or why its cache cannot be folded. */
  readonly supported: true | string;
  /** Layers that live on a device. */
  readonly deviceLayers: number;
}

const NO_TOKENS = new Int32Array(0);

/** @throws KvfoldError KVFOLD_ARGUMENT, KVFOLD_CONTEXT, KVFOLD_DISPOSED */
export async function createContext<Model>(
  source: ContextSource<Model>,
  options: ContextOptions,
): Promise<LlamaContext<Model>> {
  const { addon } = source;
  const checked = contextOptions(options, source.raw, source.deviceLayers);
  const [handle, repeatInstruction] = await Promise.all([
    addon.createContext(source.handle, checked),
    source.raw.hasVocabulary ? addon.tokenize(source.handle, REPEAT_INSTRUCTION, false, false) : NO_TOKENS,
  ]);
  const seen = addon.describeContext(handle);
  // what the metadata tells of a model holds for its contexts too
  const known = source.supported === true ? seen : { ...seen, problem: source.supported };
  const layoutOf = (told: RawContext): CacheLayout | null =>
    cacheLayout(told, `${source.raw.name} ${source.raw.parameters}`);
  const reach = reachOf(known, options.executor === "ggml", checked.threads);
  const raw = { ...known, problem: await problemOf(addon, known, layoutOf(known), reach, checked.threads) };
  const layout = layoutOf(raw);
  const state: ContextState = {
    addon,
    handle,
    gate: createGate(),
    raw,
    model: source.raw,
    sequenceCount: checked.sequences,
    layout,
    tokenText: source.raw.hasVocabulary ? (token) => addon.tokenText(source.handle, token) : null,
    repeatInstruction,
    textOf: (tokens) => addon.detokenize(source.handle, Int32Array.from(tokens)),
    sequences: new Map(),
    access: lazyAccess({ addon, handle, raw, layout }, reach),
    disposed: false,
  };
  return contextObject(state, source);
}

/** Why the cache cannot be folded, or "". Devices have to fold a small cache first, each with the layers that it holds. */
async function problemOf(
  addon: LlamaAddon,
  raw: RawContext,
  layout: CacheLayout | null,
  { byDevice, host }: Reach,
  threads: number,
): Promise<string> {
  if (layout === null || !byDevice) return raw.problem;
  for (const device of new Set(raw.devices)) {
    const own = layout.layers.filter((_, index) => raw.devices[index] === device);
    const kinds = new Map(own.map((layer) => [JSON.stringify({ ...layer, layer: 0 }), layer]));
    const trial = await trialFold(addon, host, device, [...kinds.values()], threads);
    if (trial !== true) return trial;
  }
  return "";
}

function contextObject<Model>(state: ContextState, source: ContextSource<Model>): LlamaContext<Model> {
  const { addon, raw } = state;
  const sequences = new Map<number, LlamaSequence>();
  const isEnd = (token: number): boolean => addon.isEnd(source.handle, token);
  return {
    contextSize: raw.contextSize,
    batchSize: raw.batchSize,
    model: source.model,
    supported: raw.problem === "" ? true : raw.problem,
    devices: raw.problem === "" ? [...new Set(raw.devices)] : [],
    sequence(id = 0) {
      if (state.disposed) throw failure("KVFOLD_DISPOSED", "the context was already freed");
      if (!Number.isInteger(id) || id < 0 || id >= state.sequenceCount) {
        const hint = `ids go from 0 to ${state.sequenceCount - 1}; create the context with more sequences`;
        throw wrongArgument(`sequence ${String(id)}`, hint);
      }
      const sequence = sequences.get(id) ?? createSequence(state, id, isEnd);
      sequences.set(id, sequence);
      return sequence;
    },
    async dispose() {
      if (state.disposed) return;
      state.disposed = true;
      addon.cancel(state.handle);
      await state.gate.run(() => {
        for (const sequence of state.sequences.values()) dropQueries(sequence);
        return addon.freeContext(state.handle);
      });
    },
  };
}
