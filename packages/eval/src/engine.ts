/** What the tasks need of an engine. The sequences of @kvfold/llama have it; other engines may. */
import type { FoldReport, KvCache, Maybe, MergeStrategy, SignalName } from "@kvfold/core";

export interface ReadOptions {
  readonly signals?: readonly SignalName[];
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, total: number) => void;
}

/** One sequence of a live cache: read, folded, put back, read again. */
export interface EvalSequence<Snapshot = unknown> extends KvCache {
  /** Cells in use. */
  readonly cells: number;
  prefill(tokens: Int32Array, options?: ReadOptions): Promise<{ readonly milliseconds: number }>;
  decode(token: number): Maybe<Float32Array>;
  /** Appends tokens. @returns logits after each of them */
  evaluate(tokens: Int32Array, options: { readonly logits: "all" }): Maybe<readonly Float32Array[]>;
  /** Greedy, from the last logits; stops at the end of the text. */
  generate(options: { readonly maxTokens: number; readonly signal?: AbortSignal }): Promise<{
    readonly text: string;
  }>;
  snapshot(): Maybe<Snapshot>;
  restore(snapshot: Snapshot): Maybe<void>;
  clear(): Maybe<void>;
}

export interface ReadAndFoldOptions extends ReadOptions {
  /** Fold after this many new tokens. */
  readonly every: number;
  readonly strategy: MergeStrategy;
  readonly ratio: number;
  readonly seed?: number;
  readonly onFold?: (report: FoldReport) => void;
}

export interface EvalEngine<Snapshot = unknown> {
  readonly sequence: EvalSequence<Snapshot>;
  /** Reads a prompt and folds while it is being read; only needed for tasks that ask for it. */
  readonly readAndFold?: (tokens: Int32Array, options: ReadAndFoldOptions) => Promise<unknown>;
}
