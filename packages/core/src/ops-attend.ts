/** The reference of the operation `attend`, in double precision, in pieces short enough to be interrupted. */
import { setImmediate as nextTurn } from "node:timers/promises";
import { attendHead } from "./attention/index.js";
import { KvfoldError, throwIfAborted } from "./errors.js";
import type { AttendOptions, AttendStats } from "./ops.js";
import { futureQueries } from "./queries.js";
import type { CacheView } from "./view.js";

/** Products of one piece of work: a few milliseconds, also on a slow machine. */
const PIECE = 2 ** 20;

/**
 * What sampled queries, turned to positions after the context, pay to every cell of a layer: softmax over all cells,
 * the bias added, not causal.
 *
 * @throws KvfoldError KVFOLD_SIGNAL_MISSING, KVFOLD_ARGUMENT, KVFOLD_ABORTED
 */
export async function attend(
  view: CacheView,
  layer: number,
  options: AttendOptions = {},
): Promise<AttendStats> {
  const shape = view.shape.layers[layer];
  if (shape === undefined) {
    throw new KvfoldError("KVFOLD_ARGUMENT", `layer ${layer} of ${view.shape.layers.length}`, {
      who: "attend",
    });
  }
  const sample = options.queries ?? view.signals.queries;
  if (sample === null) {
    throw new KvfoldError("KVFOLD_SIGNAL_MISSING", "the cache has no signal queries", {
      who: "attend",
      hint: "ask for the signal queries before the prompt is read: it cannot be had afterwards",
    });
  }
  const { signal, queries: _, ...spread } = options;
  throwIfAborted(signal, "attend");
  const keys = await view.keys(layer, "stored");
  const { cells } = view.shape;
  const { kvHeads, keyDim } = shape;
  const last = view.positions[cells - 1]!;
  const stats = {
    maximum: new Float32Array(kvHeads * cells),
    mean: new Float32Array(kvHeads * cells),
    rms: new Float32Array(kvHeads * cells),
  };
  for (let head = 0; head < kvHeads; head++) {
    const queries = futureQueries(sample, layer, shape, head, { ...spread, last });
    const part = keys.subarray(head * cells * keyDim, (head + 1) * cells * keyDim);
    const result = await attendInPieces(queries, part, keyDim, view.bias, signal);
    for (const name of ["maximum", "mean", "rms"] as const) stats[name].set(result[name], head * cells);
  }
  return stats;
}

type HeadStats = Readonly<Record<"maximum" | "mean" | "rms", Float64Array>>;

/** @param queries [rows, dim]  @param keys [cells, dim] */
async function attendInPieces(
  queries: Float32Array,
  keys: Float32Array,
  dim: number,
  bias: Float32Array | null,
  signal: AbortSignal | undefined,
): Promise<HeadStats> {
  const cells = keys.length / dim;
  const rows = queries.length / dim;
  const step = Math.max(1, Math.floor(PIECE / keys.length));
  const total = {
    maximum: new Float64Array(cells),
    mean: new Float64Array(cells),
    rms: new Float64Array(cells),
  };
  for (let from = 0; from < rows; from += step) {
    throwIfAborted(signal, "attend");
    const piece = queries.subarray(from * dim, (from + step) * dim);
    const { maximum, mean, rms } = attendHead({ dim, queries: piece, keys, bias });
    const share = piece.length / queries.length;
    for (let cell = 0; cell < cells; cell++) {
      total.maximum[cell] = Math.max(total.maximum[cell]!, maximum[cell]!);
      total.mean[cell] = total.mean[cell]! + share * mean[cell]!;
      total.rms[cell] = total.rms[cell]! + share * rms[cell]! ** 2;
    }
    await nextTurn();
  }
  throwIfAborted(signal, "attend");
  return { ...total, rms: total.rms.map(Math.sqrt) };
}
