/** What the parts of a context share. */
import type { Executor } from "@kvfold/core";
import {
  createNativeExecutor,
  type NativeMemory,
  type NativeOps,
  type NativeTarget,
  nativeMemoryFromExternal,
  nativeOps,
} from "@kvfold/native";
import type { ContextHandle, LlamaAddon, RawContext, RawModel } from "../native/addon.js";
import type { SequenceState } from "../sequence/state.js";
import type { Gate } from "./gate.js";
import type { CacheLayout } from "./shape.js";

export interface ContextState {
  readonly addon: LlamaAddon;
  readonly handle: ContextHandle;
  readonly gate: Gate;
  readonly raw: RawContext;
  readonly model: RawModel;
  readonly sequenceCount: number;
  /** null: the cache cannot be folded. */
  readonly layout: CacheLayout | null;
  readonly tokenText: ((token: number) => string) | null;
  /** Tokens of a text without anything put before it, or null without a vocabulary. */
  readonly tokensOf: ((text: string) => Int32Array) | null;
  readonly textOf: (tokens: readonly number[]) => string;
  readonly sequences: Map<number, SequenceState>;
  /** Made on first use, so that a model runs without the native executor. */
  readonly executor: () => Executor<NativeTarget>;
  readonly ops: () => NativeOps;
  /** Memory of the stream of a sequence. */
  readonly memory: (sequence: number) => NativeMemory;
  disposed: boolean;
}

/** Executor, operations and memory, each made once. */
export function lazyNative(
  context: Pick<ContextState, "addon" | "handle" | "raw" | "layout">,
  threads: number,
): Pick<ContextState, "executor" | "ops" | "memory"> {
  let executor: Executor<NativeTarget> | undefined;
  let ops: NativeOps | undefined;
  const memories = new Map<number, NativeMemory>();
  return {
    executor: () => {
      executor ??= createNativeExecutor({ threads });
      return executor;
    },
    ops: () => {
      ops ??= nativeOps({ threads });
      return ops;
    },
    memory: (sequence) => {
      const stream = context.raw.streams > 1 ? sequence : 0;
      const known = memories.get(stream);
      if (known !== undefined) return known;
      const { layers, frequencies } = context.layout!;
      const external = context.addon.memoryOf(context.handle, sequence, frequencies);
      const memory = nativeMemoryFromExternal(external, { layers, cells: 0 }, context.raw.cells);
      memories.set(stream, memory);
      return memory;
    },
  };
}
