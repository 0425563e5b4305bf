/**
 * The signal `repeat` (KVzip, arXiv 2505.23416): the model reads its context a second time, and what the queries of the
 * second reading attend to is what the text itself needs. Chunk after chunk goes after the context and out again:
 *
 *     [ context ................ ][ " Repeat the previous context:" | end of the chunk before | chunk ]
 *                 ^ attended to     read, but not counted                                       its queries count
 *
 * The context keeps every byte; only cells that were free are written to.
 */
import { type RepeatAttention, throwIfAborted } from "@kvfold/core";
import type { CellsTarget } from "../cells/access.js";
import type { QueriesHandle } from "../native/addon.js";
import { failure, WHO, wrongArgument } from "../native/errors.js";
import { attendAsAsked } from "./attend.js";
import { cancellable } from "./cancel.js";
import { hasQueries, sampleOf, startTap } from "./queries.js";
import { viewSlots } from "./slots.js";
import { needLayers, needUsable, type SequenceState, targetOf } from "./state.js";

/** Good for one state of the cells. */
export interface HeldRepeat {
  readonly attention: RepeatAttention;
  readonly generation: number;
}

/** Null when there was no second reading, or the cells have changed since. */
export const repeatNow = (state: SequenceState): RepeatAttention | null =>
  state.repeat?.generation === state.generation ? state.repeat.attention : null;

/** Its tokens are made with the context, so that a plan waits for nobody. */
export const REPEAT_INSTRUCTION = " Repeat the previous context:";
/** Tokens of the chunk before that tell the model where to go on. */
const LEAD = 8;
const CHUNK = 512;

/** A second reading that fits. */
export interface RepeatPlan {
  readonly chunk: number;
  /** Tokens to be evaluated in all. */
  readonly tokens: number;
}

/**
 * Plans a second reading of a sequence that is about to take `tokens` more.
 * @throws KvfoldError KVFOLD_UNSUPPORTED, KVFOLD_CACHE_FULL, KVFOLD_ARGUMENT, all before anything is evaluated
 */
export function needRepeatRoom(state: SequenceState, tokens: number, given: number = CHUNK): RepeatPlan {
  if (!Number.isInteger(given) || given < 1) {
    throw wrongArgument(`repeatChunk is ${String(given)}`, "give a whole number of at least 1");
  }
  checkReadable(state);
  const { addon, handle, raw, repeatInstruction } = state.context;
  const context = state.sidecar.cells + tokens;
  const chunk = Math.min(given, context);
  const chunks = Math.ceil(context / chunk);
  const ahead = repeatInstruction.length + (chunks > 1 ? LEAD : 0);
  const free = addon.lowestCells(handle, state.id, raw.cells).length;
  const need = context + ahead + chunk;
  if (need > free) {
    throw failure(
      "KVFOLD_CACHE_FULL",
      `a second reading in chunks of ${chunk} tokens needs ${need} cells, there are ${free}`,
      "give a larger contextSize or a smaller repeatChunk",
    );
  }
  return { chunk, tokens: context + chunks * repeatInstruction.length + (chunks - 1) * LEAD };
}

function checkReadable(state: SequenceState): void {
  needLayers(state);
  const { raw } = state.context;
  const hint = "leave the signal repeat out";
  if (raw.windowedPart) {
    throw failure("KVFOLD_UNSUPPORTED", "a second reading would push tokens out of windowed layers", hint);
  }
  const without = raw.layers.find((layer) => !hasQueries(layer));
  if (without !== undefined) {
    const what = `the attention of layer ${without.layer} is more than softmax(scale q.k) v`;
    throw failure("KVFOLD_UNSUPPORTED", what, hint);
  }
  if (state.sidecar.untouchedTail < state.sidecar.cells) {
    throw failure(
      "KVFOLD_UNSUPPORTED",
      "the context is folded: it cannot be read a second time",
      "ask for the signal repeat before the first fold",
    );
  }
}

export interface RepeatOptions {
  /** Bytes that the queries of a chunk may occupy. */
  readonly bytes: number;
  readonly signal: AbortSignal | undefined;
  /** Tokens evaluated so far. */
  readonly onProgress: (done: number) => void;
}

/**
 * Reads the whole context a second time. Whatever happens, the cells are those of before.
 * @throws KvfoldError KVFOLD_ABORTED, KVFOLD_DECODE, and what the executor throws
 */
export async function readAgain(
  state: SequenceState,
  plan: RepeatPlan,
  options: RepeatOptions,
): Promise<void> {
  const { repeatInstruction } = state.context;
  const { tokens } = state.sidecar.records();
  const target = await state.context.gate.run(() => {
    needUsable(state);
    return targetOf(state, viewSlots(state));
  });
  const most = target.shape.layers.map(({ kvHeads }) => new Float32Array(kvHeads * tokens.length));
  let done = 0;
  for (let from = 0; from < tokens.length; from += plan.chunk) {
    const lead = Int32Array.of(...repeatInstruction, ...tokens.subarray(Math.max(0, from - LEAD), from));
    const chunk = tokens.subarray(from, from + plan.chunk);
    await readChunk(state, target, lead, chunk, most, {
      ...options,
      onProgress: (inside) => options.onProgress(done + inside),
    });
    done += lead.length + chunk.length;
  }
  state.repeat = { attention: { layers: most }, generation: state.generation };
}

/** One chunk: evaluated after the context, its queries attended with, its cells freed. */
async function readChunk(
  state: SequenceState,
  target: CellsTarget,
  lead: Int32Array,
  chunk: Int32Array,
  most: readonly Float32Array[],
  options: RepeatOptions,
): Promise<void> {
  const limits = { rows: Number.POSITIVE_INFINITY, bytes: options.bytes };
  const tap = startTap(state, limits, chunk.length);
  try {
    await append(state, lead, 0, null, options);
    await append(state, chunk, lead.length, tap.handle, options);
    const sample = sampleOf(state, await state.context.addon.takeQueries(tap.handle));
    for (const [layer, into] of most.entries()) {
      throwIfAborted(options.signal, WHO);
      const seen = await state.context.gate.run(() => {
        needUsable(state);
        return attendAsAsked(state, target, layer, sample, options.signal);
      });
      seen.forEach((weight, i) => {
        if (weight > into[i]!) into[i] = weight;
      });
    }
  } finally {
    await state.context.addon.freeQueries(tap.handle);
    await takeOut(state);
  }
}

/** Evaluates tokens after the context and `offset` others, in batches, without any record of them. */
async function append(
  state: SequenceState,
  tokens: Int32Array,
  offset: number,
  queries: QueriesHandle | null,
  { signal, onProgress }: RepeatOptions,
): Promise<void> {
  const { addon, handle, raw, gate } = state.context;
  for (let from = 0; from < tokens.length; from += raw.batchSize) {
    const batch = tokens.slice(from, from + raw.batchSize);
    const start = state.sidecar.lastPosition + 1 + offset + from;
    const job = { sequence: state.id, start, tokens: batch, logProbs: false, previous: null, queries };
    await gate.run(() => cancellable(state, signal, () => addon.decode(handle, { ...job, logits: 0 })));
    onProgress(offset + from + batch.length);
  }
}

/** Frees everything after the context. */
async function takeOut(state: SequenceState): Promise<void> {
  const { addon, handle, gate } = state.context;
  await gate.run(() => {
    if (state.context.disposed) return;
    if (addon.removeRange(handle, state.id, state.sidecar.lastPosition + 1, -1)) return;
    state.broken = failure(
      "KVFOLD_INTERNAL",
      "the second reading could not be taken out",
      "clear the sequence",
    );
    throw state.broken;
  });
}
