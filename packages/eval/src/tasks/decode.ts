/** The decode task: how fast a full, a folded and a native cache of the folded size decode, and what the fold costs. */
import { fold, type MergeStrategy, throwIfAborted } from "@kvfold/core";
import type { EvalEngine, EvalSequence } from "../engine.js";
import { decodeSteps, median } from "../measure.js";
import { foldCosts } from "./fold-costs.js";

export interface DecodeOptions {
  /** What is read and folded. */
  readonly prompt: Int32Array;
  /** Tokens that are decoded after it, over and over. */
  readonly next: Int32Array;
  readonly strategy: MergeStrategy;
  readonly ratio: number;
  /** Rounds that count; one more warms up. */
  readonly runs: number;
  /** Handed to the strategy. Default 1. */
  readonly seed?: number;
  readonly signal?: AbortSignal;
  readonly onEvent?: (event: DecodeEvent) => void;
}

/** What one round gave. Times in milliseconds. */
export interface DecodeRound {
  /** Reading the prompt without signals. */
  readonly prefillMs: number;
  /** How much longer it takes with the signals of the strategy; 0 when it asks for none that cost anything. */
  readonly captureMs: number;
  readonly planMs: number;
  readonly foldMs: number;
  readonly cells: Readonly<Record<DecodeCache, number>>;
  /** Tokens a second. */
  readonly speed: Readonly<Record<DecodeCache, number>>;
}

/** `native`: a cache that was never folded, filled by the first tokens of the prompt. */
export type DecodeCache = "full" | "folded" | "native";

export const DECODE_CACHES: readonly DecodeCache[] = ["full", "folded", "native"];

/** Times that each cache decodes in a round. */
const TURNS = 3;

/** `round` counts from 0, the one that warms up. */
export interface DecodeEvent {
  readonly round: number;
  readonly rounds: number;
  readonly step: "read" | "capture" | "fold" | "native" | "decode";
}

/** Medians over the rounds; ratios are medians of the ratios of each round. */
export interface DecodeSummary {
  readonly rows: readonly {
    readonly cache: DecodeCache;
    readonly cells: number;
    readonly tokensPerSecond: number;
    readonly minimum: number;
    readonly maximum: number;
  }[];
  readonly planMs: number;
  readonly foldMs: number;
  readonly prefillMs: number;
  readonly captureMs: number;
  /** Speed of the folded cache / that of a native one of its size. */
  readonly foldedToNative: number;
  /** Speed of the folded cache / that of the full one. */
  readonly foldedToFull: number;
  /** (planMs + foldMs) / prefillMs */
  readonly planAndFoldShare: number;
}

/**
 * Measures in rounds, so that whatever else the machine does hits all caches alike:
 *
 *     read | read with signals: full | fold: folded | clear, read as many tokens as cells stayed: native
 *     full decodes, folded decodes, native decodes; three times, each put back first
 *
 * The speed of a cache in a round is that of its median step, so that a few steps that were held up do not count.
 *
 * @throws KvfoldError KVFOLD_ABORTED when cancelled, and what engine and strategy throw
 */
export async function runDecode<S>(engine: EvalEngine<S>, options: DecodeOptions): Promise<DecodeRound[]> {
  const rounds: DecodeRound[] = [];
  for (let round = 0; round <= options.runs; round++) {
    const one = await runRound(engine, options, round);
    if (round > 0) rounds.push(one);
  }
  return rounds;
}

export function summariseDecode(rounds: readonly DecodeRound[]): DecodeSummary {
  const middle = (of: (round: DecodeRound) => number): number => median(rounds.map(of));
  return {
    rows: DECODE_CACHES.map((cache) => {
      const speeds = rounds.map((round) => round.speed[cache]);
      return {
        cache,
        cells: rounds[0]?.cells[cache] ?? 0,
        tokensPerSecond: median(speeds),
        minimum: Math.min(...speeds),
        maximum: Math.max(...speeds),
      };
    }),
    planMs: middle((round) => round.planMs),
    foldMs: middle((round) => round.foldMs),
    prefillMs: middle((round) => round.prefillMs),
    captureMs: middle((round) => round.captureMs),
    foldedToNative: middle(({ speed }) => speed.folded / speed.native),
    foldedToFull: middle(({ speed }) => speed.folded / speed.full),
    planAndFoldShare: middle(({ planMs, foldMs, prefillMs }) => (planMs + foldMs) / prefillMs),
  };
}

// ---------------------------------------------------------------------------------------------------------------

async function runRound<S>(
  { sequence }: EvalEngine<S>,
  options: DecodeOptions,
  round: number,
): Promise<DecodeRound> {
  const { prompt, strategy, ratio, seed = 1, signal } = options;
  const cancel = signal === undefined ? {} : { signal };
  const begin = (step: DecodeEvent["step"]): void => {
    throwIfAborted(signal, "decode");
    options.onEvent?.({ round, rounds: options.runs + 1, step });
  };
  const read = async (tokens: Int32Array, signals: MergeStrategy["signals"]): Promise<number> => {
    await sequence.clear();
    return (await sequence.prefill(tokens, { signals, ...cancel })).milliseconds;
  };
  begin("read");
  const prefillMs = await read(prompt, []);
  // tokens are kept anyway
  const captures = strategy.signals.some((name) => name !== "tokens");
  if (captures) begin("capture");
  const captureMs = captures ? (await read(prompt, strategy.signals)) - prefillMs : 0;
  const full = await keep(sequence);
  begin("fold");
  const report = await fold(sequence, { strategy, keep: { ratio }, seed, ...cancel });
  const { planMs, foldMs } = foldCosts([report]);
  const folded = await keep(sequence);
  begin("native");
  await read(prompt.subarray(0, folded.cells), []);
  const native = await keep(sequence);
  begin("decode");
  return {
    ...{ prefillMs, captureMs, planMs, foldMs },
    cells: { full: full.cells, folded: folded.cells, native: native.cells },
    speed: await speeds(sequence, { full, folded, native }, options),
  };
}

interface Kept<S> {
  readonly snapshot: S;
  readonly cells: number;
}

async function keep<S>(sequence: EvalSequence<S>): Promise<Kept<S>> {
  return { snapshot: await sequence.snapshot(), cells: sequence.cells };
}

async function speeds<S>(
  sequence: EvalSequence<S>,
  kept: Readonly<Record<DecodeCache, Kept<S>>>,
  { next, signal }: DecodeOptions,
): Promise<Record<DecodeCache, number>> {
  const steps: Record<DecodeCache, number[]> = { full: [], folded: [], native: [] };
  for (let turn = 0; turn < TURNS; turn++) {
    for (const cache of DECODE_CACHES) {
      await sequence.restore(kept[cache].snapshot);
      steps[cache].push(...(await decodeSteps(sequence, next, signal)));
    }
  }
  const speed = (cache: DecodeCache): number => 1000 / median(steps[cache]);
  return { full: speed("full"), folded: speed("folded"), native: speed("native") };
}
