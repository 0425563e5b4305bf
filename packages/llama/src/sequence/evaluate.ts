/** Reading tokens into a sequence: batches, logits, surprise, greedy generation. */
import { type SignalName, throwIfAborted } from "@kvfold/core";
import type { RawDecoded } from "../native/addon.js";
import { failure, WHO, wrongArgument } from "../native/errors.js";
import { cancellable } from "./cancel.js";
import { beginQueries, checkQueryLimits, dropQueries, type QueryLimits } from "./queries.js";
import { needRepeatRoom, readAgain } from "./repeat.js";
import type { SequenceState } from "./state.js";
import { inTurn } from "./turn.js";

export interface PrefillOptions extends QueryLimits {
  /**
   * Signals to capture; `tokens` are always kept. `queries` are sampled from the first token of a sequence or not at
   * all, and from then on with every token. `repeat` reads the whole context a second time, before the first fold.
   */
  readonly signals?: readonly SignalName[];
  /** Tokens of the context that `repeat` reads again at a time; it needs room for as many. Default 512. */
  readonly repeatChunk?: number;
  readonly signal?: AbortSignal;
  /** After every batch, those of a second reading included. */
  readonly onProgress?: (done: number, total: number) => void;
}

export interface PrefillReport {
  readonly tokens: number;
  readonly milliseconds: number;
  /** Of the last token. [vocabulary] */
  readonly logits: Float32Array;
}

/** Logits of one batch stay below this many bytes when all of them are needed. */
const OUTPUT_BYTES = 64 * 2 ** 20;

/**
 * Checked token ids.
 * @throws KvfoldError KVFOLD_ARGUMENT
 */
export function checkTokens(tokens: ArrayLike<number>, vocabulary: number): Int32Array {
  if (
    tokens === null ||
    typeof tokens !== "object" ||
    !Number.isSafeInteger(tokens.length) ||
    tokens.length < 1
  ) {
    throw wrongArgument("tokens must be a list of at least one token id", "tokenize the text first");
  }
  if (tokens.length > 2 ** 27) throw wrongArgument(`${tokens.length} tokens`, "give at most 134217728");
  const ids = new Int32Array(tokens.length);
  for (let i = 0; i < ids.length; i++) {
    const id = tokens[i]!;
    if (!Number.isInteger(id) || id < 0 || id >= vocabulary) {
      throw wrongArgument(`token ${String(id)} at index ${i}`, `token ids go from 0 to ${vocabulary - 1}`);
    }
    ids[i] = id;
  }
  return ids;
}

/** @throws KvfoldError KVFOLD_CACHE_FULL before anything is evaluated */
export function needRoom(state: SequenceState, tokens: number): void {
  const { contextSize, hasCache, cells } = state.context.raw;
  const size = hasCache ? cells : contextSize;
  const free = size - state.sidecar.cells;
  if (tokens <= free) return;
  throw failure(
    "KVFOLD_CACHE_FULL",
    `${tokens} tokens do not fit: ${state.sidecar.cells} of ${size} cells are in use`,
    "give a larger contextSize, fewer tokens, or fold the cache first",
  );
}

interface BatchOptions {
  readonly logits: 0 | 1 | 2;
  readonly logProbs: boolean;
  readonly signal: AbortSignal | undefined;
}

/** One evaluation. The records follow only when it has succeeded. */
async function runBatch(
  state: SequenceState,
  tokens: Int32Array,
  options: BatchOptions,
): Promise<RawDecoded> {
  const { context, sidecar } = state;
  const { addon, handle } = context;
  return context.gate.run(() =>
    cancellable(state, options.signal, async () => {
      try {
        const start = sidecar.lastPosition + 1;
        const decoded = await addon.decode(handle, {
          sequence: state.id,
          start,
          tokens,
          logits: options.logits,
          logProbs: options.logProbs,
          previous: options.logProbs ? state.lastLogits : null,
          queries: state.queries?.handle ?? null,
        });
        sidecar.append(start, tokens, decoded.logProbs);
        state.generation += 1;
        state.tokensSeen += tokens.length;
        state.attentionLength = decoded.attentionLength;
        state.hasLogProbs ||= options.logProbs;
        if (state.queries !== null) state.queries.shown = null;
        return decoded;
      } catch (error) {
        afterFailure(state);
        throw error;
      }
    }),
  );
}

/** The bridge takes the tokens of a failed batch out again, or all of them where a model cannot do that. */
function afterFailure(state: SequenceState): void {
  const { addon, handle } = state.context;
  if (addon.largestPosition(handle, state.id) === state.sidecar.lastPosition) return;
  addon.removeRange(handle, state.id, -1, -1);
  state.sidecar.drop(state.sidecar.cells);
  dropQueries(state);
  state.tokensSeen = 0;
  state.lastLogits = null;
  state.generation += 1;
}

const lastRow = (logits: Float32Array, vocabulary: number): Float32Array =>
  logits.slice(logits.length - vocabulary);

/** Appends tokens in batches. On a failure or an abort the batches that were read stay. */
export function prefill(
  state: SequenceState,
  given: ArrayLike<number>,
  options: PrefillOptions,
): Promise<PrefillReport> {
  const { vocabularySize } = state.context.model;
  const tokens = checkTokens(given, vocabularySize);
  const asked = (signal: SignalName): boolean => options.signals?.includes(signal) ?? false;
  const logProbs = asked("tokenLogProbs");
  const limits = checkQueryLimits(options);
  const rows = Math.max(16, Math.floor(OUTPUT_BYTES / (4 * vocabularySize)));
  const size = logProbs ? Math.min(state.context.raw.batchSize, rows) : state.context.raw.batchSize;
  return inTurn(state, async () => {
    needRoom(state, tokens.length);
    const again = asked("repeat") ? needRepeatRoom(state, tokens.length, options.repeatChunk) : null;
    if (asked("queries")) beginQueries(state, limits);
    const total = tokens.length + (again?.tokens ?? 0);
    const started = performance.now();
    for (let from = 0; from < tokens.length; from += size) {
      const batch = tokens.slice(from, from + size);
      const last = from + size >= tokens.length;
      // surprise of the next batch's first token needs this batch's last logits
      const decoded = await runBatch(state, batch, {
        logits: last || logProbs ? 1 : 0,
        logProbs,
        signal: options.signal,
      });
      state.lastLogits = decoded.logits;
      options.onProgress?.(from + batch.length, total);
    }
    if (again !== null) {
      const onProgress = (done: number): void => options.onProgress?.(tokens.length + done, total);
      await readAgain(state, again, { bytes: limits.bytes, signal: options.signal, onProgress });
    }
    const milliseconds = performance.now() - started;
    return { tokens: tokens.length, milliseconds, logits: state.lastLogits!.slice() };
  });
}

/** Evaluates tokens and returns logits, of the last token or of all. */
export function evaluate(
  state: SequenceState,
  given: ArrayLike<number>,
  which: "all" | "last",
): Promise<Float32Array[]> {
  const { vocabularySize } = state.context.model;
  if (which !== "all" && which !== "last")
    throw wrongArgument(`logits is ${String(which)}`, 'give "all" or "last"');
  const tokens = checkTokens(given, vocabularySize);
  return inTurn(state, async () => {
    needRoom(state, tokens.length);
    const rows: Float32Array[] = [];
    const size = state.context.raw.batchSize;
    for (let from = 0; from < tokens.length; from += size) {
      const batch = tokens.slice(from, from + size);
      const decoded = await runBatch(state, batch, {
        logits: which === "all" ? 2 : 1,
        logProbs: false,
        signal: undefined,
      });
      const logits = decoded.logits!;
      state.lastLogits = lastRow(logits, vocabularySize);
      if (which === "all") {
        for (let i = 0; i < batch.length; i++)
          rows.push(logits.slice(i * vocabularySize, (i + 1) * vocabularySize));
      } else if (from + size >= tokens.length) rows.push(state.lastLogits.slice());
    }
    return rows;
  });
}

/** The token with the largest logit, ties to the smallest id. */
export function argmax(logits: Float32Array): number {
  let best = 0;
  for (let i = 1; i < logits.length; i++) if (logits[i]! > logits[best]!) best = i;
  return best;
}

export interface GenerateOptions {
  readonly maxTokens: number;
  readonly signal?: AbortSignal;
  /** As each token is chosen. */
  readonly onToken?: (token: number) => void;
  /** Go on after an end token; default false. */
  readonly ignoreEnd?: boolean;
}

/**
 * Greedy decoding from the logits of the last evaluated token. Every token but the last is in the cache afterwards;
 * an end token is neither returned nor evaluated.
 */
export async function generateTokens(
  state: SequenceState,
  options: GenerateOptions,
  isEnd: (token: number) => boolean,
): Promise<{ tokens: number[]; milliseconds: number }> {
  const { maxTokens, signal, onToken, ignoreEnd = false } = options;
  if (!Number.isInteger(maxTokens) || maxTokens < 1) {
    throw wrongArgument(`maxTokens is ${String(maxTokens)}`, "give a whole number of at least 1");
  }
  return inTurn(state, async () => {
    if (state.lastLogits === null) {
      throw wrongArgument("there is no evaluated token to go on from", "prefill or decode a token first");
    }
    const started = performance.now();
    const tokens: number[] = [];
    while (tokens.length < maxTokens) {
      throwIfAborted(signal, WHO);
      const token: number = argmax(state.lastLogits!);
      if (!ignoreEnd && isEnd(token)) break;
      tokens.push(token);
      onToken?.(token);
      if (tokens.length === maxTokens) break;
      needRoom(state, 1);
      const decoded = await runBatch(state, Int32Array.of(token), { logits: 1, logProbs: false, signal });
      state.lastLogits = decoded.logits;
    }
    return { tokens, milliseconds: performance.now() - started };
  });
}
