/** Folding while the prompt is still being read: the cache never holds the whole prompt. */
import {
  type FoldReport,
  fold,
  isKvfoldError,
  type MergeStrategy,
  type SignalName,
  throwIfAborted,
} from "@kvfold/core";
import { WHO, wrongArgument } from "../native/errors.js";
import type { LlamaSequence } from "../sequence/sequence.js";

export interface PrefillAndFoldOptions {
  /** Tokens between folds. */
  readonly every: number;
  readonly strategy: MergeStrategy;
  /** Cells before / cells after, at least 1. */
  readonly ratio: number;
  /** Default 0. */
  readonly seed?: number;
  /** Beyond those that the strategy asks for. */
  readonly signals?: readonly SignalName[];
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, total: number) => void;
  readonly onFold?: (report: FoldReport) => void;
}

export interface PrefillAndFoldReport {
  readonly tokens: number;
  readonly folds: readonly FoldReport[];
  /** Of reading, folds left out. */
  readonly prefillMilliseconds: number;
  readonly foldMilliseconds: number;
  /** Of the last token, as it was read. [vocabulary] */
  readonly logits: Float32Array;
  /** The most cells that were in use at once. */
  readonly peakCells: number;
}

/**
 * Reads a prompt and folds after every `every` new tokens, the flow of llama.cpp draft PR 5719: only what was read
 * since the last fold is squeezed, the next tokens go on at the largest position + 1. What is left at the end is folded
 * too, so that the whole prompt has the ratio.
 *
 *     scope new    [ folded ][ new tokens ]  ->  [ folded ][ new, folded ]      the rest is kept as it is
 *     scope all    [ everything so far    ]  ->  [ ceil(tokens seen / ratio) ]
 *
 * A strategy whose pins alone exceed the budget of a short beginning (KVFOLD_BUDGET) is asked again at the next fold;
 * only at the end of the prompt is that an error.
 *
 * @throws KvfoldError what `prefill` and `fold` throw; the sequence keeps the batches and folds that were done
 */
export async function prefillAndFold(
  sequence: LlamaSequence,
  tokens: ArrayLike<number>,
  options: PrefillAndFoldOptions,
): Promise<PrefillAndFoldReport> {
  const { every, strategy, signal } = options;
  if (!Number.isInteger(every) || every < 1)
    throw wrongArgument(`every is ${String(every)}`, "give a whole number of at least 1");
  const ids = Array.from(tokens);
  if (ids.length === 0) throw wrongArgument("there are no tokens to read");
  const signals = [...new Set([...(options.signals ?? []), ...strategy.signals])];
  const folds: FoldReport[] = [];
  let prefillMilliseconds = 0;
  let foldMilliseconds = 0;
  let peakCells = sequence.cells;
  let from = sequence.cells;
  let logits = new Float32Array(0);
  for (let done = 0; done < ids.length; ) {
    throwIfAborted(signal, WHO);
    const part = ids.slice(done, done + every);
    const read = await sequence.prefill(part, {
      signals,
      ...(signal === undefined ? {} : { signal }),
      onProgress: (inside) => options.onProgress?.(done + inside, ids.length),
    });
    done += part.length;
    prefillMilliseconds += read.milliseconds;
    logits = read.logits as Float32Array<ArrayBuffer>;
    peakCells = Math.max(peakCells, sequence.cells);
    const started = performance.now();
    const report = await foldNew(sequence, from, options, done === ids.length);
    foldMilliseconds += performance.now() - started;
    if (report === null) continue;
    folds.push(report);
    from = sequence.cells;
    options.onFold?.(report);
  }
  return { tokens: ids.length, folds, prefillMilliseconds, foldMilliseconds, logits, peakCells };
}

/** null: too early, the budget does not hold the pins yet. */
async function foldNew(
  sequence: LlamaSequence,
  from: number,
  { strategy, ratio, seed, signal }: PrefillAndFoldOptions,
  last: boolean,
): Promise<FoldReport | null> {
  const range = strategy.scope === "new" ? { from, to: sequence.cells } : { from: 0, to: sequence.cells };
  try {
    return await fold(sequence, {
      strategy,
      keep: { ratio },
      range,
      ...(seed === undefined ? {} : { seed }),
      ...(signal === undefined ? {} : { signal }),
    });
  } catch (error) {
    if (!last && isKvfoldError(error) && error.code === "KVFOLD_BUDGET") return null;
    throw error;
  }
}
