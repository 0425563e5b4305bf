/** One sequence of a live context: tokens go in, logits come out, and its cells can be folded in place. */
import type { KvCache } from "@kvfold/core";
import type { ContextState } from "../context/state.js";
import { wrongArgument } from "../native/errors.js";
import { applyPlan } from "./apply.js";
import { clearSequence, rewindSequence } from "./cut.js";
import {
  evaluate,
  type GenerateOptions,
  generateTokens,
  type PrefillOptions,
  type PrefillReport,
  prefill,
} from "./evaluate.js";
import { sequenceOps, takeLease } from "./lease.js";
import { viewSlots } from "./slots.js";
import { restoreSnapshot, type Snapshot, takeSnapshot } from "./snapshot.js";
import { createSequenceState, needUsable, type SequenceState, shapeOf } from "./state.js";

export interface Generation {
  readonly tokens: number[];
  /** "" when the model has no vocabulary. */
  readonly text: string;
  readonly milliseconds: number;
}

/** A sequence. All calls on it run in the order in which they are made; none while a lease is held. */
export interface LlamaSequence extends KvCache {
  readonly id: number;
  /** Cells in use. */
  readonly cells: number;
  /** Where the next token goes: the largest position + 1. */
  readonly nextPosition: number;
  /** Cells that llama.cpp attended over in the last evaluation, padding included. */
  readonly attentionLength: number;
  /** Bytes of keys and values of the cells in use; 0 when the cache cannot be folded. */
  readonly bytes: number;
  /**
   * Appends tokens in batches. On a failure or an abort the batches that were read stay.
   * @throws KvfoldError KVFOLD_CACHE_FULL, KVFOLD_CACHE_BUSY, KVFOLD_ARGUMENT, KVFOLD_ABORTED, KVFOLD_DECODE
   */
  prefill(tokens: ArrayLike<number>, options?: PrefillOptions): Promise<PrefillReport>;
  /** Appends one token. @returns its logits [vocabulary] */
  decode(token: number): Promise<Float32Array>;
  /** Appends tokens. @returns logits of all of them, or of the last */
  evaluate(tokens: ArrayLike<number>, options: { readonly logits: "all" | "last" }): Promise<Float32Array[]>;
  /**
   * Greedy decoding from the logits of the last evaluated token. An end token stops it and is not returned. All
   * returned tokens but the last are in the cache afterwards.
   */
  generate(options: GenerateOptions): Promise<Generation>;
  /** A copy of everything, folds included. */
  snapshot(): Promise<Snapshot>;
  /** Undoes whatever happened since the snapshot, folds included. @throws KvfoldError KVFOLD_STATE */
  restore(snapshot: Snapshot): Promise<void>;
  /** Removes all cells. */
  clear(): Promise<void>;
  /** What `llama_state_seq_get_data` gives. */
  stateBytes(): Promise<Uint8Array>;
  /**
   * Physical cells in view order, and their positions.
   * @throws KvfoldError KVFOLD_UNSUPPORTED, KVFOLD_CACHE_BUSY while the context is at work
   */
  cellMap(): { readonly slots: Uint32Array; readonly positions: Int32Array };
  /**
   * Drops the cells at and after a position. @throws KvfoldError KVFOLD_REWIND where cells are folded
   */
  rewind(position: number): Promise<void>;
}

const states = new WeakMap<LlamaSequence, SequenceState>();

/** The inner state of a sequence; for tests of this package. */
export const stateOf = (sequence: LlamaSequence): SequenceState => states.get(sequence)!;

export function createSequence(
  context: ContextState,
  id: number,
  endOf: (token: number) => boolean,
): LlamaSequence {
  const state = createSequenceState(context, id);
  context.sequences.set(id, state);
  const sequence: LlamaSequence = {
    name: `llama sequence ${id}`,
    id,
    ops: sequenceOps(state),
    ...callsOf(state, endOf),
    get shape() {
      return shapeOf(state);
    },
    get tokensSeen() {
      return state.tokensSeen;
    },
    get cells() {
      return state.sidecar.cells;
    },
    get nextPosition() {
      return state.sidecar.lastPosition + 1;
    },
    get attentionLength() {
      return state.attentionLength;
    },
    get bytes() {
      return state.sidecar.cells * (context.layout?.cellBytes ?? 0);
    },
  };
  states.set(sequence, state);
  return sequence;
}

type Facts =
  | "name"
  | "id"
  | "ops"
  | "shape"
  | "tokensSeen"
  | "cells"
  | "nextPosition"
  | "attentionLength"
  | "bytes";

function callsOf(state: SequenceState, endOf: (token: number) => boolean): Omit<LlamaSequence, Facts> {
  const { context } = state;
  return {
    lease: () => takeLease(state),
    apply: (lease, plan, options = {}) => applyPlan(state, lease, plan, options.signal),
    prefill: async (tokens, options = {}) => prefill(state, tokens, options),
    decode: async (token) => (await evaluate(state, [token], "last"))[0]!,
    evaluate: async (tokens, options) => evaluate(state, tokens, options?.logits),
    generate: async (options) => {
      if (options === null || typeof options !== "object") {
        throw wrongArgument("generate needs { maxTokens }");
      }
      const { tokens, milliseconds } = await generateTokens(state, options, endOf);
      const text = context.model.hasVocabulary ? await context.textOf(tokens) : "";
      return { tokens, text, milliseconds };
    },
    snapshot: async () => takeSnapshot(state),
    restore: (snapshot) => restoreSnapshot(state, snapshot),
    clear: async () => clearSequence(state),
    stateBytes: () => context.gate.run(() => bytesOf(state)),
    cellMap: () => {
      needUsable(state);
      return { slots: viewSlots(state), positions: state.sidecar.records().positions.slice() };
    },
    rewind: async (position) => rewindSequence(state, position),
  };
}

function bytesOf(state: SequenceState): Promise<Uint8Array> {
  needUsable(state);
  return state.context.addon.stateBytes(state.context.handle, state.id);
}
