/** The passkey task: one prefill, one full answer, and for every strategy and ratio a fold and another answer. */
import {
  type FoldReport,
  fold,
  KvfoldError,
  type MergeStrategy,
  type SignalName,
  throwIfAborted,
} from "@kvfold/core";
import type { EvalEngine } from "../engine.js";
import { decodeSpeed } from "../measure.js";
import { type FoldCosts, foldCosts } from "./fold-costs.js";
import type { PasskeyCase } from "./passkey-cases.js";
import { isRightAnswer } from "./passkey-score.js";

/** One line of the result table: a strategy at a ratio. */
export interface PasskeyRun {
  readonly strategy: MergeStrategy;
  readonly ratio: number;
}

export interface PasskeyOptions {
  readonly cases: readonly PasskeyCase[];
  readonly runs: readonly PasskeyRun[];
  /** Each run reads the prompt itself and folds after every so many tokens. Default: one fold after the prompt. */
  readonly foldEvery?: number;
  /** Captured while a prompt is read; default: what the strategies ask for. Not with `foldEvery`. */
  readonly signals?: readonly SignalName[];
  /** Measure how fast each cache decodes; default true. */
  readonly speeds?: boolean;
  /** Read the last prompt once more without signals, to see what capturing them costs; default false. */
  readonly captureCost?: boolean;
  /** Handed to the strategies. Default 1. */
  readonly seed?: number;
  readonly signal?: AbortSignal;
  readonly onEvent?: (event: PasskeyEvent) => void;
}

/** An answer and how it was come by. */
export interface Answer {
  readonly text: string;
  readonly right: boolean;
  /** Tokens per second right after the answer; NaN when it was not measured. */
  readonly tokensPerSecond: number;
}

export interface FoldedAnswer extends Answer, FoldCosts {
  readonly cellsBefore: number;
  readonly cellsAfter: number;
}

/** What one case gave. */
export interface PasskeyTrial {
  readonly case: PasskeyCase;
  readonly prefillMs: number;
  /** How much longer reading takes with the signals than without; null where that was not measured. */
  readonly captureMs: number | null;
  readonly full: Answer;
  /** In the order of `runs`. */
  readonly folded: readonly FoldedAnswer[];
}

/** What happens, for progress displays. `run` is an index into `runs`. */
export type PasskeyEvent =
  | { readonly type: "case"; readonly trial: number; readonly trials: number; readonly depth: number }
  | { readonly type: "read"; readonly trial: number; readonly done: number; readonly total: number }
  | { readonly type: "fold"; readonly trial: number; readonly run: number; readonly report: FoldReport }
  | { readonly type: "answer"; readonly trial: number; readonly run: null; readonly answer: Answer }
  | { readonly type: "answer"; readonly trial: number; readonly run: number; readonly answer: FoldedAnswer };

/**
 * Runs all cases. The question is read after the fold, so a strategy cannot know what will be asked. Wrong answers are
 * results; only what keeps the task from being carried out is an error.
 *
 * @throws KvfoldError KVFOLD_ABORTED when cancelled, and what engine and strategies throw
 */
export async function runPasskey<S>(engine: EvalEngine<S>, options: PasskeyOptions): Promise<PasskeyTrial[]> {
  if (options.foldEvery !== undefined && engine.readAndFold === undefined) {
    throw new KvfoldError("KVFOLD_UNSUPPORTED", "this engine cannot fold while it reads", { who: "passkey" });
  }
  const trials: PasskeyTrial[] = [];
  for (const [trial, one] of options.cases.entries()) {
    throwIfAborted(options.signal, "passkey");
    options.onEvent?.({ type: "case", trial, trials: options.cases.length, depth: one.depth });
    trials.push(await runCase(engine, options, one, trial));
  }
  return trials;
}

// ---------------------------------------------------------------------------------------------------------------

async function runCase<S>(
  engine: EvalEngine<S>,
  options: PasskeyOptions,
  one: PasskeyCase,
  trial: number,
): Promise<PasskeyTrial> {
  const { sequence } = engine;
  const signals = signalsOf(options);
  await sequence.clear();
  const { milliseconds } = await sequence.prefill(one.prompt, reading(options, signals, trial));
  const cellsBefore = sequence.cells;
  const snapshot = options.foldEvery === undefined ? await sequence.snapshot() : undefined;
  const full = await answer(engine, options, one);
  options.onEvent?.({ type: "answer", trial, run: null, answer: full });
  const folded: FoldedAnswer[] = [];
  for (const [index, run] of options.runs.entries()) {
    throwIfAborted(options.signal, "passkey");
    const reports =
      snapshot === undefined
        ? await foldWhileReading(engine, options, run, one, trial)
        : await foldSnapshot(engine, options, run, snapshot);
    for (const report of reports) options.onEvent?.({ type: "fold", trial, run: index, report });
    const cellsAfter = sequence.cells;
    const result = {
      ...(await answer(engine, options, one)),
      ...foldCosts(reports),
      cellsBefore,
      cellsAfter,
    };
    options.onEvent?.({ type: "answer", trial, run: index, answer: result });
    folded.push(result);
  }
  // tokens are kept anyway
  const captures = signals.some((name) => name !== "tokens");
  const compares = captures && options.captureCost === true && trial === options.cases.length - 1;
  const captureMs = compares ? milliseconds - (await readPlainly(engine, options, one, trial)) : null;
  return { case: one, prefillMs: milliseconds, captureMs, full, folded };
}

/** Milliseconds to read a prompt without any signal. */
async function readPlainly<S>(
  { sequence }: EvalEngine<S>,
  options: PasskeyOptions,
  one: PasskeyCase,
  trial: number,
): Promise<number> {
  throwIfAborted(options.signal, "passkey");
  await sequence.clear();
  return (await sequence.prefill(one.prompt, reading(options, [], trial))).milliseconds;
}

async function foldSnapshot<S>(
  { sequence }: EvalEngine<S>,
  options: PasskeyOptions,
  run: PasskeyRun,
  snapshot: S,
): Promise<FoldReport[]> {
  await sequence.restore(snapshot);
  return [
    await fold(sequence, {
      strategy: run.strategy,
      keep: { ratio: run.ratio },
      seed: options.seed ?? 1,
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    }),
  ];
}

async function foldWhileReading<S>(
  { sequence, readAndFold }: EvalEngine<S>,
  options: PasskeyOptions,
  run: PasskeyRun,
  one: PasskeyCase,
  trial: number,
): Promise<FoldReport[]> {
  const reports: FoldReport[] = [];
  await sequence.clear();
  await readAndFold!(one.prompt, {
    ...reading(options, run.strategy.signals, trial),
    every: options.foldEvery!,
    strategy: run.strategy,
    ratio: run.ratio,
    seed: options.seed ?? 1,
    onFold: (report) => reports.push(report),
  });
  return reports;
}

async function answer<S>(
  { sequence }: EvalEngine<S>,
  { signal, speeds = true }: PasskeyOptions,
  one: PasskeyCase,
): Promise<Answer> {
  const cancel = signal === undefined ? {} : { signal };
  await sequence.prefill(one.question, cancel);
  const { text } = await sequence.generate({ maxTokens: one.answerTokens, ...cancel });
  const tokensPerSecond = speeds ? await decodeSpeed(sequence, one.question, signal) : Number.NaN;
  return { text, right: isRightAnswer(text, one.key), tokensPerSecond };
}

/** What the shared prefill captures; with `foldEvery` each run reads for itself. */
function signalsOf({ runs, signals, foldEvery }: PasskeyOptions): readonly SignalName[] {
  if (foldEvery !== undefined) return [];
  return signals ?? [...new Set(runs.flatMap((run) => run.strategy.signals))];
}

function reading(options: PasskeyOptions, signals: readonly SignalName[], trial: number) {
  return {
    signals,
    ...(options.signal === undefined ? {} : { signal: options.signal }),
    onProgress: (done: number, total: number) => options.onEvent?.({ type: "read", trial, done, total }),
  };
}
