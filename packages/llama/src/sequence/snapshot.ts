/** Snapshots: everything that a sequence is, so that one prefill serves many folds. */
import { failure, wrongArgument } from "../native/errors.js";
import { copyQueries, dropQueries, type HeldQueries, queryBytes } from "./queries.js";
import { type HeldRepeat, repeatNow } from "./repeat.js";
import { type CellRecords, noCells } from "./sidecar.js";
import { refreshBias, viewSlots } from "./slots.js";
import type { SequenceState } from "./state.js";
import { inTurn } from "./turn.js";

/** A copy of a sequence, outside the cache. */
export interface Snapshot {
  /** Cells in it. */
  readonly cells: number;
  /** Bytes of keys, values, metadata and sampled queries that it holds in memory. */
  readonly bytes: number;
  readonly tokensSeen: number;
}

interface Contents {
  readonly signature: string;
  readonly state: Uint8Array;
  /** Physical cells in memory order; null when llama.cpp chooses. */
  readonly slots: Uint32Array | null;
  readonly records: CellRecords;
  readonly lastLogits: Float32Array | null;
  readonly attentionLength: number;
  readonly hasLogProbs: boolean;
  readonly queries: HeldQueries | null;
  readonly repeat: HeldRepeat["attention"] | null;
}

const contents = new WeakMap<Snapshot, Contents>();

const signatureOf = ({ context }: SequenceState): string =>
  context.layout?.signature ?? JSON.stringify([context.model.name, context.raw.problem, context.raw.streams]);

/** A cache with a windowed part has two cell maps; llama.cpp places both. */
const choosesCells = ({ context }: SequenceState): boolean =>
  context.layout !== null && !context.raw.windowedPart;

export function takeSnapshot(state: SequenceState): Promise<Snapshot> {
  return inTurn(state, () => state.context.gate.run(() => copyOut(state)));
}

async function copyOut(state: SequenceState): Promise<Snapshot> {
  const { addon, handle } = state.context;
  const cells = state.sidecar.cells;
  const bytes = cells === 0 ? new Uint8Array(0) : await addon.stateBytes(handle, state.id);
  const queries = copyQueries(state, state.queries);
  const size = bytes.byteLength + queryBytes(state, queries);
  const snapshot: Snapshot = Object.freeze({ cells, bytes: size, tokensSeen: state.tokensSeen });
  contents.set(snapshot, {
    signature: signatureOf(state),
    state: bytes,
    slots: choosesCells(state) ? viewSlots(state).sort() : null,
    records: state.sidecar.records(),
    lastLogits: state.lastLogits,
    attentionLength: state.attentionLength,
    hasLogProbs: state.hasLogProbs,
    queries,
    repeat: repeatNow(state),
  });
  return snapshot;
}

/**
 * Puts a snapshot in place of the cells of a sequence: into the very cells it came from if they are free.
 * @throws KvfoldError KVFOLD_STATE when it is of another kind of context; the sequence is then as it was, or empty if
 * llama.cpp refused the bytes
 */
export async function restoreSnapshot(state: SequenceState, snapshot: Snapshot): Promise<void> {
  const saved = contents.get(snapshot);
  if (saved === undefined) throw wrongArgument("not a snapshot", "give what snapshot() returned");
  if (saved.signature !== signatureOf(state)) {
    throw failure("KVFOLD_STATE", "the snapshot is of another model or of other context settings");
  }
  await inTurn(state, () => state.context.gate.run(() => copyIn(state, snapshot, saved)), true);
}

async function copyIn(state: SequenceState, snapshot: Snapshot, saved: Contents): Promise<void> {
  const cells = destinations(state, saved);
  state.generation += 1;
  try {
    await write(state, saved, cells);
    state.sidecar.replace(saved.records);
    state.tokensSeen = snapshot.tokensSeen;
    state.lastLogits = saved.lastLogits;
    state.attentionLength = saved.attentionLength;
    state.hasLogProbs = saved.hasLogProbs;
    dropQueries(state);
    state.queries = copyQueries(state, saved.queries);
    state.repeat = saved.repeat && { attention: saved.repeat, generation: state.generation };
    state.broken = null;
  } catch (error) {
    forget(state);
    throw error;
  } finally {
    refreshBias(state, null);
  }
}

function destinations(state: SequenceState, saved: Contents): Uint32Array {
  if (saved.slots === null || saved.slots.length === 0) return new Uint32Array(0);
  const { addon, handle, raw } = state.context;
  const free = addon.lowestCells(handle, state.id, raw.cells);
  if (free.length < saved.slots.length) {
    throw failure(
      "KVFOLD_CACHE_FULL",
      `the snapshot has ${saved.slots.length} cells, ${free.length} are free`,
      "clear another sequence first",
    );
  }
  const available = new Set(free);
  return saved.slots.every((slot) => available.has(slot)) ? saved.slots : free.slice(0, saved.slots.length);
}

async function write(state: SequenceState, saved: Contents, cells: Uint32Array): Promise<void> {
  const { addon, handle } = state.context;
  if (saved.state.byteLength === 0) addon.removeRange(handle, state.id, -1, -1);
  else await addon.setState(handle, state.id, saved.state, cells);
}

/** Nothing is left of the sequence. */
export function forget(state: SequenceState): void {
  state.sidecar.replace(noCells(state.context.layout?.layers.length ?? 0));
  state.tokensSeen = 0;
  state.lastLogits = null;
  state.attentionLength = 0;
  state.hasLogProbs = false;
  dropQueries(state);
  state.generation += 1;
}
