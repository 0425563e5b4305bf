/** Reading native memory: rows in any frame, and key statistics. */
import { type KeyFrame, type KeyStats, KvfoldError } from "@kvfold/core";
import { withFlag } from "./abort.js";
import type { RawRead } from "./addon.js";
import { checkTarget } from "./arguments.js";
import type { NativeBackend } from "./executor.js";
import { loadAddon } from "./load.js";
import type { NativeTarget } from "./memory.js";
import { callNative } from "./native-error.js";
import { checkThreads } from "./threads.js";

export interface NativeOpsOptions {
  /** [physical cores - 1, at least 1] */
  readonly threads?: number;
  /** ["cpu"] */
  readonly backend?: NativeBackend;
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
  const { backend = "cpu" } = options;
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
  };
}

function checkLayer(target: NativeTarget, layer: number, who: string): void {
  if (Number.isInteger(layer) && layer >= 0 && layer < target.shape.layers.length) return;
  throw new KvfoldError("KVFOLD_ARGUMENT", `layer ${layer} of ${target.shape.layers.length}`, { who });
}
