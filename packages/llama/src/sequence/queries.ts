/**
 * The sample of a sequence's own queries: begun at its first token, fed by every evaluation, shown in the view.
 *
 *     prefill(.., signals: ["queries"])   on an empty sequence: a tap is made
 *     every evaluation                    at most `queryRows` rows a KV head stay, half of them of the newest tokens
 *     fold                                changes nothing here: queries are of the text, not of the cells
 */
import { hashQueries, type QueryLayer, type QuerySample } from "@kvfold/core";
import type { QueriesHandle, RawLayer, RawQueries } from "../native/addon.js";
import { failure, wrongArgument } from "../native/errors.js";
import { needLayers, type SequenceState } from "./state.js";

/** How many queries a sample may hold. */
export interface QueryLimits {
  /** Query rows for each KV head, all heads of its group counted; default 4096. */
  readonly queryRows?: number;
  /** Bytes that a full sample may occupy; default 512 MiB. */
  readonly queryBytes?: number;
}

/** The sample of a sequence, or of a snapshot. */
export interface HeldQueries {
  readonly handle: QueriesHandle;
  /** What the view shows, once somebody looked; null again after every change. */
  shown: QuerySample | null;
}

/** A quarter of the fitting rows may be solved for: 4096 rows bear a thousand free values a head. */
const QUERY_ROWS = 4096;
const QUERY_BYTES = 512 * 2 ** 20;
/**
 * Share of the newest tokens in a full sample. What follows asks most like what came last: where a long context changes
 * its subject, divergence after a fold was half of that with a uniform sample; elsewhere there was no difference.
 */
const NEWEST = 0.5;
const SEED = 0;

/** True for a layer whose attention is softmax(scale q.k) v, with queries that the graph shows. */
export const hasQueries = (layer: RawLayer): boolean =>
  layer.queryScale !== 0 && Number.isFinite(layer.queryScale) && layer.softCap === 0 && !layer.sinks;

/** @throws KvfoldError KVFOLD_ARGUMENT */
export function checkQueryLimits({ queryRows = QUERY_ROWS, queryBytes = QUERY_BYTES }: QueryLimits): {
  rows: number;
  bytes: number;
} {
  if (!Number.isInteger(queryRows) || queryRows < 1 || queryRows > 2 ** 20) {
    throw wrongArgument(`queryRows is ${String(queryRows)}`, "give a whole number from 1 to 1048576");
  }
  if (!Number.isSafeInteger(queryBytes) || queryBytes < 1) {
    throw wrongArgument(`queryBytes is ${String(queryBytes)}`, "give a whole number of at least 1");
  }
  return { rows: queryRows, bytes: queryBytes };
}

/**
 * Makes a tap for the layers that have queries.
 * @param positions tokens that a full sample holds; null: as many as `rows` allows
 * @throws KvfoldError KVFOLD_UNSUPPORTED where no layer has any, KVFOLD_ARGUMENT before more than `bytes` is allocated
 */
export function startTap(
  state: SequenceState,
  limits: { readonly rows: number; readonly bytes: number },
  positions: number | null,
): HeldQueries {
  needLayers(state);
  const { addon, handle, raw } = state.context;
  const layers = [...raw.layers.keys()].filter((index) => hasQueries(raw.layers[index]!));
  if (layers.length === 0) {
    throw failure(
      "KVFOLD_UNSUPPORTED",
      "no layer has queries to sample: attention here is more than softmax(scale q.k) v",
      "read the prompt without the signals queries and repeat",
    );
  }
  const groups = layers.map((index) => raw.layers[index]!.queryHeads / raw.layers[index]!.kvHeads);
  const most = Math.floor(limits.rows / Math.max(...groups));
  if (positions === null && most < 1) {
    throw wrongArgument(
      `queryRows is ${limits.rows}, one token has ${Math.max(...groups)} query heads for each KV head`,
      "give larger queryRows",
    );
  }
  const newest = positions === null ? Math.floor(NEWEST * most) : 0;
  const options = { maxPositions: positions ?? most, newest, maxBytes: limits.bytes, seed: SEED };
  const queries = addon.startQueries(handle, {
    ...options,
    layers: Uint32Array.from(layers),
  });
  return { handle: queries, shown: null };
}

/** Begins to sample, at the first token of a sequence only: a sample without the beginning would not be of the prompt. */
export function beginQueries(state: SequenceState, limits: { rows: number; bytes: number }): void {
  if (state.queries !== null || state.sidecar.cells > 0) return;
  state.queries = startTap(state, limits, null);
}

/** Frees the sample; nobody waits for the memory to be given back. */
export function dropQueries(state: SequenceState): void {
  if (state.queries !== null) void state.context.addon.freeQueries(state.queries.handle);
  state.queries = null;
}

/** The last tokens were taken out of the sequence. */
export async function takeBackQueries(state: SequenceState, tokens: number): Promise<void> {
  if (state.queries === null) return;
  state.queries.shown = null;
  await state.context.addon.takeBackQueries(state.queries.handle, tokens);
}

/** A copy that lives on its own. */
export const copyQueries = (state: SequenceState, queries: HeldQueries | null): HeldQueries | null =>
  queries && { handle: state.context.addon.copyQueries(queries.handle), shown: queries.shown };

/** Bytes that a sample occupies. */
export const queryBytes = (state: SequenceState, queries: HeldQueries | null): number =>
  queries === null ? 0 : state.context.addon.queryBytes(queries.handle);

/** The sample as the view shows it; the same object until the sequence changes. null: none was asked for in time. */
export async function querySample(state: SequenceState): Promise<QuerySample | null> {
  if (state.queries === null || state.sidecar.cells === 0) return null;
  const { queries, context } = state;
  queries.shown ??= sampleOf(state, await context.addon.takeQueries(queries.handle));
  return queries.shown;
}

/** Layers in the order of the view. The hash is computed when somebody asks for it, once. */
export function sampleOf(state: SequenceState, taken: RawQueries): QuerySample {
  let next = 0;
  const layers = state.context.raw.layers.map((layer): QueryLayer | null =>
    hasQueries(layer) ? { ...taken.layers[next++]!, scale: layer.queryScale } : null,
  );
  const content = { positions: taken.positions, layers };
  let hash: string | undefined;
  return {
    ...content,
    get hash() {
      hash ??= hashQueries(content);
      return hash;
    },
  };
}
