/** The divergence task: the full cache and every folded one read the same text, and their expectations are compared. */
import { type FoldReport, fold, type MergeStrategy, type SignalName, throwIfAborted } from "@kvfold/core";
import type { EvalEngine } from "../engine.js";
import { compareExpected, type Divergence, type Expected, expected } from "./divergence.js";
import { type FoldCosts, foldCosts } from "./fold-costs.js";
import type { KlWindow } from "./kl-windows.js";
import { rememberingAttention } from "./remember-attention.js";

export interface KlOptions {
  readonly window: KlWindow;
  readonly runs: readonly { readonly strategy: MergeStrategy; readonly ratio: number }[];
  /** Captured while the context is read; default: what the strategies ask for. */
  readonly signals?: readonly SignalName[];
  /** Handed to the strategies. Default 1. */
  readonly seed?: number;
  readonly signal?: AbortSignal;
  readonly onEvent?: (event: KlEvent) => void;
}

/**
 * What one fold did to the expectations of the model, over the tokens of one window. Times of planning are those of the
 * first run that asks for attention: later ones find it known.
 */
export interface KlScore extends FoldCosts {
  /** KL(full || folded) after each token, in nats. [window] */
  readonly kl: readonly number[];
  /** Mean of them. */
  readonly meanKl: number;
  /** Share of the tokens after which both expect the same token most. */
  readonly top1: number;
  /** Mean negative log-likelihood of the tokens that follow, in nats. */
  readonly fullNll: number;
  readonly foldedNll: number;
  readonly cellsBefore: number;
  readonly cellsAfter: number;
}

/** What happens, for progress displays and for those who keep results as they come. */
export type KlEvent =
  | { readonly type: "read"; readonly done: number; readonly total: number }
  | { readonly type: "full"; readonly prefillMs: number }
  | { readonly type: "fold"; readonly run: number; readonly report: FoldReport }
  | { readonly type: "score"; readonly run: number; readonly score: KlScore };

/** Tokens that are evaluated at a time, so that only the full cache's logits are held for a whole window. */
const BATCH = 32;

/**
 * Reads the context once; then the full cache, and for every run the folded one, read the same tokens. All expectations
 * that are compared are made from the cache as it is after the fold: the first follows the first token after it.
 *
 * @returns a score for each run
 * @throws KvfoldError KVFOLD_ABORTED when cancelled, and what engine and strategies throw
 */
export async function runKl<S>(engine: EvalEngine<S>, options: KlOptions): Promise<KlScore[]> {
  const { sequence } = engine;
  const { window, runs, signal, onEvent } = options;
  throwIfAborted(signal, "kl");
  await sequence.clear();
  const { milliseconds } = await sequence.prefill(window.context, {
    signals: options.signals ?? [...new Set(runs.flatMap((run) => run.strategy.signals))],
    ...(signal === undefined ? {} : { signal }),
    onProgress: (done, total) => onEvent?.({ type: "read", done, total }),
  });
  const cellsBefore = sequence.cells;
  const snapshot = await sequence.snapshot();
  const full: Expected[] = [];
  await readNext(engine, options, (logits) => full.push(expected(logits)));
  onEvent?.({ type: "full", prefillMs: milliseconds });
  const scores: KlScore[] = [];
  const cache = rememberingAttention(sequence);
  for (const [index, run] of runs.entries()) {
    throwIfAborted(signal, "kl");
    await sequence.restore(snapshot);
    const report = await fold(cache, {
      strategy: run.strategy,
      keep: { ratio: run.ratio },
      seed: options.seed ?? 1,
      ...(signal === undefined ? {} : { signal }),
    });
    onEvent?.({ type: "fold", run: index, report });
    const cells = { cellsBefore, cellsAfter: sequence.cells };
    const found: Divergence[] = [];
    await readNext(engine, options, (logits, place) => {
      found.push(compareExpected(full[place]!, expected(logits), window.next[place + 1]!));
    });
    const score = { ...meansOf(found), ...cells, ...foldCosts([report]) };
    scores.push(score);
    onEvent?.({ type: "score", run: index, score });
  }
  return scores;
}

// ---------------------------------------------------------------------------------------------------------------

/** Reads what follows the context, and hands on the logits after each token. */
async function readNext<S>(
  { sequence }: EvalEngine<S>,
  { window, signal }: KlOptions,
  take: (logits: Float32Array, place: number) => void,
): Promise<void> {
  const tokens = window.next.subarray(0, -1);
  for (let from = 0; from < tokens.length; from += BATCH) {
    throwIfAborted(signal, "kl");
    const rows = await sequence.evaluate(tokens.slice(from, from + BATCH), { logits: "all" });
    for (const [row, logits] of rows.entries()) take(logits, from + row);
  }
}

type Means = Pick<KlScore, "kl" | "meanKl" | "top1" | "fullNll" | "foldedNll">;

function meansOf(found: readonly Divergence[]): Means {
  const mean = (of: (one: Divergence) => number): number =>
    found.reduce((sum, one) => sum + of(one), 0) / found.length;
  return {
    kl: found.map((one) => one.kl),
    meanKl: mean((one) => one.kl),
    top1: mean((one) => (one.sameTop ? 1 : 0)),
    fullNll: mean((one) => one.fullNll),
    foldedNll: mean((one) => one.foldedNll),
  };
}
