/** Attention of query rows over the cells of a live sequence, and what of it a fit can use again. */
import {
  type AttendOptions,
  type AttendStats,
  decodeF16,
  type FitRequest,
  KvfoldError,
  type QuerySample,
} from "@kvfold/core";
import type { CellsTarget } from "../cells/access.js";
import { WHO } from "../native/errors.js";
import type { SequenceState } from "./state.js";

/** Attention outputs that a lease has seen, by layer. A fit of the same queries would compute them again. */
export interface KeptOutputs {
  readonly layers: Map<number, { readonly horizon: number; readonly data: Float32Array }>;
  bytes: number;
}

export const noOutputs = (): KeptOutputs => ({ layers: new Map(), bytes: 0 });

/** Of one lease; what goes beyond is computed again. */
const KEPT_BYTES = 128 * 2 ** 20;
const HORIZON = 512;

/**
 * What queries asked after the context pay to each cell; the caller keeps the cells still.
 * @throws KvfoldError KVFOLD_SIGNAL_MISSING, KVFOLD_ARGUMENT, KVFOLD_ABORTED
 */
export async function attendFuture(
  state: SequenceState,
  target: CellsTarget,
  kept: KeptOutputs,
  sample: QuerySample | null,
  layer: number,
  { horizon = HORIZON, maxRows, fitRows = 0, signal }: AttendOptions,
): Promise<AttendStats> {
  if (sample === null) {
    throw new KvfoldError("KVFOLD_SIGNAL_MISSING", "the sequence has no signal queries", {
      who: WHO,
      hint: "ask for the signal queries before the prompt is read: it cannot be had afterwards",
    });
  }
  const ops = state.context.access(state.id);
  const stop = signal === undefined ? {} : { signal };
  const spread = { horizon, ...(maxRows === undefined ? {} : { maxRows }), ...stop };
  const queries = await ops.turnQueries(target, layer, sample, spread);
  const { kvHeads, keyDim, valueDim } = target.shape.layers[layer]!;
  const rows = queries.length / (kvHeads * keyDim);
  const group = sample.layers[layer]!.heads / kvHeads;
  const fitted = Math.min(rows, Math.floor(fitRows / group) * group);
  const bytes = fitted * kvHeads * valueDim * Float32Array.BYTES_PER_ELEMENT;
  const replaced = kept.layers.get(layer)?.data.byteLength ?? 0;
  const first = kept.bytes - replaced + bytes <= KEPT_BYTES ? fitted : 0;
  const attend = (part: RowRange, outputs: boolean) =>
    ops.attend(target, layer, rowsOf(queries, part, rows, kvHeads), target.bias ?? null, {
      outputs,
      ...stop,
    });
  if (first === 0) return attend({ from: 0, to: rows }, false);
  const seen = await attend({ from: 0, to: first }, true);
  if (seen.outputs !== null) {
    kept.layers.set(layer, { horizon, data: seen.outputs });
    kept.bytes += bytes - replaced;
  }
  if (first === rows) return seen;
  return joined(seen, await attend({ from: first, to: rows }, false), first / rows);
}

interface RowRange {
  readonly from: number;
  readonly to: number;
}

/** Some query rows of every head. [kvHeads, rows, keyDim] -> [kvHeads, to - from, keyDim] */
function rowsOf(queries: Float32Array, { from, to }: RowRange, rows: number, kvHeads: number): Float32Array {
  if (from === 0 && to === rows) return queries;
  const width = queries.length / (kvHeads * rows);
  const part = new Float32Array(kvHeads * (to - from) * width);
  for (let head = 0; head < kvHeads; head++) {
    const start = head * rows;
    part.set(queries.subarray((start + from) * width, (start + to) * width), head * (to - from) * width);
  }
  return part;
}

/** Statistics over two sets of rows, of which the first has this share. */
function joined(first: AttendStats, rest: AttendStats, share: number): AttendStats {
  const each = (name: keyof AttendStats, join: (a: number, b: number) => number): Float32Array =>
    first[name].map((value, index) => join(value, rest[name][index]!));
  return {
    maximum: each("maximum", Math.max),
    mean: each("mean", (a, b) => share * a + (1 - share) * b),
    rms: each("rms", (a, b) => Math.sqrt(share * a * a + (1 - share) * b * b)),
  };
}

/** Outputs that are those of the queries of a fit, by layer; null where they must be computed. */
export function outputsFor(
  kept: KeptOutputs,
  fit: FitRequest,
  { shape }: CellsTarget,
  sample: QuerySample,
): (Float32Array | null)[] {
  return shape.layers.map(({ kvHeads, valueDim }, layer) => {
    const known = kept.layers.get(layer);
    const queries = sample.layers[layer] ?? null;
    if (known === undefined || queries === null || known.horizon !== fit.horizon) return null;
    const group = queries.heads / kvHeads;
    const samples = Math.min(sample.positions.length, Math.floor(fit.maxRows / group));
    return known.data.length === samples * queries.heads * valueDim ? known.data : null;
  });
}

/**
 * The largest softmax weight that queries at their own positions pay to each cell of the target.
 * @returns [kvHeads, cells]
 */
export async function attendAsAsked(
  state: SequenceState,
  target: CellsTarget,
  layer: number,
  sample: QuerySample,
  signal: AbortSignal | undefined,
): Promise<Float32Array> {
  const { kvHeads, keyDim } = target.shape.layers[layer]!;
  const queries = plainQueries(sample, layer, kvHeads, keyDim);
  const stop = signal === undefined ? {} : { signal };
  const { maximum } = await state.context
    .access(state.id)
    .attend(target, layer, queries, target.bias ?? null, stop);
  return maximum;
}

/**
 * Queries of one layer at their own positions, as rows of its KV heads, times the attention scale.
 *
 *     samples  s0 s1 ..., group of two heads  ->  rows  s0h0 s0h1 s1h0 s1h1 ...
 *
 * @returns [kvHeads, samples * group, keyDim]
 */
function plainQueries(sample: QuerySample, layer: number, kvHeads: number, keyDim: number): Float32Array {
  const { heads, rows, scale } = sample.layers[layer]!;
  const samples = sample.positions.length;
  const group = heads / kvHeads;
  const out = new Float32Array(rows.length);
  for (let index = 0; index < samples; index++) {
    for (let head = 0; head < heads; head++) {
      const kvHead = Math.floor(head / group);
      const to = ((kvHead * samples + index) * group + (head % group)) * keyDim;
      const from = (index * heads + head) * keyDim;
      for (let i = 0; i < keyDim; i++) out[to + i] = decodeF16(rows[from + i]!) * scale;
    }
  }
  return out;
}
