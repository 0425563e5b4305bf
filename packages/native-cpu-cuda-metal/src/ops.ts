/** Reading native memory: rows in any frame, key statistics, attention. */
import { type KeyFrame, type KeyStats, KvfoldError, type QuerySample } from "@kvfold/core";
import { withFlag } from "./abort.js";
import type { RawAttention, RawRead } from "./addon.js";
import { checkTarget, needArray } from "./arguments.js";
import type { NativeBackend } from "./executor.js";
import { loadAddon } from "./load.js";
import type { NativeTarget } from "./memory.js";
import { callNative } from "./native-error.js";
import { DEFAULT_MEMORY_LIMIT, layerSample } from "./sample.js";
import { checkThreads } from "./threads.js";

export interface NativeOpsOptions {
  /** [physical cores - 1, at least 1] */
  readonly threads?: number;
  /** ["cpu"] */
  readonly backend?: NativeBackend;
  /** Bytes that `attend` may work in, besides what it returns; fewer threads are used before it refuses. [1 GiB] */
  readonly memoryLimit?: number;
}

/** Where queries are turned to; see `FutureOptions`. */
export interface TurnOptions extends ReadOptions {
  /** Positions after the context over which queries are spread. [512] */
  readonly horizon?: number;
  /** Query rows for each KV head. [all] */
  readonly maxRows?: number;
}

export interface AttendRowsOptions extends ReadOptions {
  /** Also the attention outputs, Hadamard rotation undone. [false] */
  readonly outputs?: boolean;
}

/** What queries pay to the cells of one layer; `outputs` only when asked for. */
export interface AttendedLayer {
  /** [kvHeads, cells] */
  readonly maximum: Float32Array;
  /** [kvHeads, cells] */
  readonly mean: Float32Array;
  /** [kvHeads, cells] */
  readonly rms: Float32Array;
  /** [kvHeads, rows, valueDim] */
  readonly outputs: Float32Array | null;
  /** Bytes that were needed besides these. */
  readonly workingBytes: number;
}

export interface ReadOptions {
  readonly signal?: AbortSignal;
}

/** Operations on a native target; all only read, off the event loop. The cache must not change meanwhile. */
export interface NativeOps {
  /**
   * Keys of a layer, Hadamard rotation undone.
   * @returns [kvHeads, cells, keyDim]
   */
  keys(target: NativeTarget, layer: number, frame: KeyFrame, options?: ReadOptions): Promise<Float32Array>;
  /**
   * Values of a layer, Hadamard rotation undone.
   * @returns [kvHeads, cells, valueDim]
   */
  values(target: NativeTarget, layer: number, options?: ReadOptions): Promise<Float32Array>;
  /**
   * Rows as they are stored, in the basis of the cache.
   * @returns [kvHeads, cells, dim]
   */
  storedRows(
    target: NativeTarget,
    layer: number,
    kind: "keys" | "values",
    options?: ReadOptions,
  ): Promise<Float32Array>;
  /** Norms and mean cosines of the keys of a layer; see `KeyStats`. */
  keyStats(target: NativeTarget, layer: number, options?: ReadOptions): Promise<KeyStats>;
  /**
   * Sampled queries as if asked after the last cell: `futureQueries` of @kvfold/core for all KV heads of a layer.
   * @returns [kvHeads, samples * group, keyDim]
   * @throws KvfoldError KVFOLD_ARGUMENT when the sample does not fit the layer, KVFOLD_ABORTED
   */
  turnQueries(
    target: NativeTarget,
    layer: number,
    sample: QuerySample,
    options?: TurnOptions,
  ): Promise<Float32Array>;
  /**
   * Softmax attention of query rows over all cells of a layer, not causal. The work is split by heads, so memory does
   * not grow with them.
   * @param queries rotated and scaled, as `turnQueries` gives them; as many rows for every head. [kvHeads, rows, keyDim]
   * @param bias additive logit bias of the cells, or null [cells]
   * @throws KvfoldError KVFOLD_ARGUMENT, KVFOLD_PLAN_LIMIT before anything is allocated, KVFOLD_ABORTED
   */
  attend(
    target: NativeTarget,
    layer: number,
    queries: Float32Array,
    bias: Float32Array | null,
    options?: AttendRowsOptions,
  ): Promise<AttendedLayer>;
}

/** How a row is handed out. */
interface Frame {
  readonly kind: "keys" | "values";
  readonly unrotate: boolean;
  readonly undoHadamard: boolean;
}

/**
 * Makes the operations.
 * @throws KvfoldError KVFOLD_NATIVE_MISSING, KVFOLD_ARGUMENT
 *
 * @example
 * const { norm } = await nativeOps().keyStats(memoryFromTarget(target), 0);
 */
export function nativeOps(options: NativeOpsOptions = {}): NativeOps {
  const addon = loadAddon();
  const { backend = "cpu", memoryLimit = DEFAULT_MEMORY_LIMIT } = options;
  const threads = checkThreads(options.threads);
  const who = `native-${backend}`;

  const run = <T>(
    target: NativeTarget,
    layer: number,
    { signal }: ReadOptions,
    job: (request: RawRead) => Promise<T>,
  ): Promise<T> =>
    withFlag(addon, signal, who, async (flag) => {
      checkTarget(target);
      checkLayer(target, layer, who);
      const { memory, slots, positions } = target;
      const sources = target.sources[layer] ?? null;
      const base = { memory: memory.external, backend, threads, flag };
      return callNative(who, () => job({ ...base, layer, slots, positions, sources }));
    });

  const read = (target: NativeTarget, layer: number, frame: Frame, readOptions: ReadOptions = {}) =>
    run(target, layer, readOptions, (request) => addon.readRows({ ...request, ...frame }));

  return {
    keys: (target, layer, frame, readOptions) =>
      read(target, layer, { kind: "keys", unrotate: frame === "unrotated", undoHadamard: true }, readOptions),
    values: (target, layer, readOptions) =>
      read(target, layer, { kind: "values", unrotate: false, undoHadamard: true }, readOptions),
    storedRows: (target, layer, kind, readOptions) =>
      read(target, layer, { kind, unrotate: false, undoHadamard: false }, readOptions),
    keyStats: (target, layer, readOptions = {}) =>
      run(target, layer, readOptions, (request) => addon.keyStats(request)),
    turnQueries: (target, layer, sample, turnOptions = {}) =>
      run(target, layer, turnOptions, ({ memory, flag }) => {
        const { horizon = 512, maxRows = 2 ** 32 - 1 } = turnOptions;
        const last = target.positions[target.shape.cells - 1]!;
        const { positions, queries } = layerSample(sample, layer, target.shape);
        return addon.turnQueries({
          ...{ memory, backend, threads, flag, layer },
          ...{ positions, queries, last, horizon, maxRows },
        });
      }),
    attend: (target, layer, queries, bias, attendOptions = {}) =>
      run(target, layer, attendOptions, ({ memory, flag, slots }): Promise<RawAttention> => {
        const { outputs = false } = attendOptions;
        const rows = rowsOf(target, layer, queries, bias);
        return addon.attend({
          ...{ memory, backend, threads, flag, memoryLimit, layer },
          ...{ slots, rows, queries, bias, outputs },
        });
      }),
  };
}

/** Query rows of each head; a rest is refused natively. */
function rowsOf(
  target: NativeTarget,
  layer: number,
  queries: Float32Array,
  bias: Float32Array | null,
): number {
  needArray("KVFOLD_ARGUMENT", "queries", queries, Float32Array);
  if (bias !== null) needArray("KVFOLD_ARGUMENT", "bias", bias, Float32Array, target.shape.cells);
  const { kvHeads, keyDim } = target.shape.layers[layer]!;
  return Math.floor(queries.length / (kvHeads * keyDim));
}

function checkLayer(target: NativeTarget, layer: number, who: string): void {
  if (Number.isInteger(layer) && layer >= 0 && layer < target.shape.layers.length) return;
  throw new KvfoldError("KVFOLD_ARGUMENT", `layer ${layer} of ${target.shape.layers.length}`, { who });
}
