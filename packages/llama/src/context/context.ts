/** A context: the memory for sequences, made from a model. */
import type { LlamaAddon, ModelHandle, RawModel } from "../native/addon.js";
import { failure, wrongArgument } from "../native/errors.js";
import { dropQueries } from "../sequence/queries.js";
import { createSequence, type LlamaSequence } from "../sequence/sequence.js";
import { createGate } from "./gate.js";
import { type ContextOptions, contextOptions } from "./options.js";
import { cacheLayout } from "./shape.js";
import { type ContextState, lazyNative } from "./state.js";

/** `Model` is what `context.model` returns. */
export interface LlamaContext<Model = unknown> {
  /** Cells that one sequence may use; a multiple of 256. */
  readonly contextSize: number;
  readonly batchSize: number;
  readonly model: Model;
  /** true, or why sequences of this context cannot be folded. */
  readonly supported: true | string;
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
}

/** @throws KvfoldError KVFOLD_ARGUMENT, KVFOLD_CONTEXT, KVFOLD_DISPOSED */
export async function createContext<Model>(
  source: ContextSource<Model>,
  options: ContextOptions,
): Promise<LlamaContext<Model>> {
  const { addon } = source;
  const checked = contextOptions(options, source.raw);
  const handle = await addon.createContext(source.handle, checked);
  const seen = addon.describeContext(handle);
  // what the metadata tells of a model holds for its contexts too
  const raw = source.supported === true ? seen : { ...seen, problem: source.supported };
  const layout = cacheLayout(raw, `${source.raw.name} ${source.raw.parameters}`);
  const state: ContextState = {
    addon,
    handle,
    gate: createGate(),
    raw,
    model: source.raw,
    sequenceCount: checked.sequences,
    layout,
    tokenText: source.raw.hasVocabulary ? (token) => addon.tokenText(source.handle, token) : null,
    tokensOf: source.raw.hasVocabulary ? (text) => addon.tokenize(source.handle, text, false, false) : null,
    textOf: (tokens) => addon.detokenize(source.handle, Int32Array.from(tokens)),
    sequences: new Map(),
    ...lazyNative({ addon, handle, raw, layout }, checked.threads),
    disposed: false,
  };
  return contextObject(state, source);
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
