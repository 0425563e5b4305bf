/** The native executor: a fold as a transaction whose every step runs off the event loop. */
import {
  type CacheShape,
  type Executor,
  type FitOutcome,
  type FoldTransaction,
  type KeyShift,
  KvfoldError,
  type MergePlan,
  type PrepareOptions,
  type ShiftOptions,
  throwIfAborted,
} from "@kvfold/core";
import { withFlag } from "./abort.js";
import type { NativeAddon, RawPrepared } from "./addon.js";
import { checkDestinations, checkPlanTypes, checkShift, checkTarget } from "./arguments.js";
import { rawLayers } from "./layers.js";
import { loadAddon } from "./load.js";
import { checkAttached, type NativeMemory, type NativeTarget } from "./memory.js";
import { callNative } from "./native-error.js";
import { DEFAULT_MEMORY_LIMIT, sampleOfPlan } from "./sample.js";
import { checkThreads } from "./threads.js";

/**
 * `cpu`: fast, threaded. `reference`: double, serial, obvious; what the others are compared with. `cuda`: on the devices
 * that hold the cache, where `backendInfo().cuda` lists one. `metal`: the GPU of an Apple machine, on caches in memory
 * that it shares with the processor; in builds for macOS only.
 */
export type NativeBackend = "cpu" | "reference" | "cuda" | "metal";

/**
 * A walk over all places where a fold can stop, for tests. Fault points are counted from 0; the one named stops the
 * step with KVFOLD_FAULT. Points passed are written back after every step.
 *
 * @example
 * const faults: FaultWalk = { prepareAt: null, commitAt: 7, preparePoints: 0, commitPoints: 0 };
 */
export interface FaultWalk {
  prepareAt: number | null;
  commitAt: number | null;
  preparePoints: number;
  commitPoints: number;
}

/** What a fold does beyond `Executor`. */
export interface NativePrepareOptions extends PrepareOptions {
  /**
   * Attention outputs over all cells that `attend` gave by layer, for the queries that the fit asks for (its `horizon`
   * and `maxRows`, turned after the last cell): they need not be computed again. null: compute. [kvHeads, rows, valueDim]
   */
  readonly outputs?: readonly (Float32Array | null)[] | null;
}

/** A fold that tells what it holds. */
export interface NativeFoldTransaction extends FoldTransaction {
  /** Bytes of new rows and undo log, held until `dispose`. */
  readonly heldBytes: number;
  /** The most bytes that a fit worked in; 0 for the backend `reference`, which does not count. */
  readonly workingBytes: number;
}

export interface NativeExecutor extends Executor<NativeTarget> {
  prepare(
    target: NativeTarget,
    plan: MergePlan,
    options: NativePrepareOptions,
  ): Promise<NativeFoldTransaction>;
  prepareShift(target: NativeTarget, shift: KeyShift, options?: ShiftOptions): Promise<NativeFoldTransaction>;
}

export interface NativeExecutorOptions {
  /** Threads of a job, this package's own pool included. [physical cores - 1, at least 1] */
  readonly threads?: number;
  /** ["cpu"] */
  readonly backend?: NativeBackend;
  /** Bytes that the fits of a fold may work in; fewer threads are used before it is refused. [1 GiB] */
  readonly memoryLimit?: number;
  /** For tests. */
  readonly faults?: FaultWalk;
}

interface Settings {
  readonly addon: NativeAddon;
  readonly backend: NativeBackend;
  readonly threads: number;
  readonly memoryLimit: number;
  readonly who: string;
  readonly faults: FaultWalk | null;
}

/**
 * Makes an executor on native memory. Results are the same bits for any number of threads.
 *
 * The caller keeps decoding away from the cache between `prepare` (or `prepareShift`) and the end of `commit` or `rollback`. A commit that
 * failed has written half: roll it back.
 *
 * @throws KvfoldError KVFOLD_NATIVE_MISSING when the add-on is not built, KVFOLD_ARGUMENT on bad options
 */
export function createNativeExecutor(options: NativeExecutorOptions = {}): NativeExecutor {
  const settings = settingsOf(options);
  return {
    name: settings.who,
    supports: (shape) => supports(settings, shape),
    prepare: (target, plan, prepareOptions) => prepare(settings, target, plan, prepareOptions),
    prepareShift: (target, shift, shiftOptions = {}) => prepareShift(settings, target, shift, shiftOptions),
  };
}

function settingsOf(options: NativeExecutorOptions): Settings {
  const addon = loadAddon();
  const { backend = "cpu", memoryLimit = DEFAULT_MEMORY_LIMIT, faults = null } = options;
  const { backends: known, cuda } = addon.info();
  if (!known.includes(backend)) {
    const reason = backend === "cuda" ? `${cuda}; ` : "";
    throw new KvfoldError("KVFOLD_ARGUMENT", `there is no backend "${String(backend)}"`, {
      who: "native",
      hint: `${reason}this build has ${known.join(", ")}`,
    });
  }
  const threads = checkThreads(options.threads);
  return { addon, backend, threads, memoryLimit, who: `native-${backend}`, faults };
}

function supports({ addon, backend }: Settings, shape: CacheShape): true | string {
  try {
    return addon.supports(backend, rawLayers(shape));
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

async function prepare(
  settings: Settings,
  target: NativeTarget,
  plan: MergePlan,
  { destinations, signal, queries = null, outputs = null }: NativePrepareOptions,
): Promise<NativeFoldTransaction> {
  const { addon, backend, threads, memoryLimit, who, faults } = settings;
  throwIfAborted(signal, who);
  checkTarget(target);
  checkPlanTypes(plan);
  checkDestinations(destinations);
  const { memory, slots, positions, sources, bias = null } = target;
  const sample = sampleOfPlan(plan, target.shape, queries);
  const prepared = await withFlag(addon, signal, who, (flag) =>
    callNative(who, () =>
      addon.prepare({
        memory: memory.external,
        backend,
        threads,
        flag,
        plan,
        slots,
        positions,
        sources,
        destinations,
        failAt: faults?.prepareAt ?? null,
        memoryLimit,
        bias,
        queries: sample,
        outputs,
      }),
    ),
  );
  if (faults !== null) faults.preparePoints = prepared.points;
  return createTransaction(settings, memory, prepared, plan.fit ? prepared.fits : null);
}

async function prepareShift(
  settings: Settings,
  target: NativeTarget,
  shift: KeyShift,
  { signal }: ShiftOptions,
): Promise<NativeFoldTransaction> {
  const { addon, backend, threads, who, faults } = settings;
  throwIfAborted(signal, who);
  checkTarget(target);
  checkShift(target, shift);
  const { memory, slots, shape } = target;
  const { deltas, layers = null } = shift;
  const layerDeltas = layers ?? shape.layers.map(() => null);
  const failAt = faults?.prepareAt ?? null;
  const prepared = await withFlag(addon, signal, who, (flag) =>
    callNative(who, () =>
      addon.prepareShift({
        ...{ memory: memory.external, backend, threads, flag },
        ...{ slots, deltas, layerDeltas, failAt },
      }),
    ),
  );
  if (faults !== null) faults.preparePoints = prepared.points;
  return createTransaction(settings, memory, prepared, null);
}

function createTransaction(
  settings: Settings,
  memory: NativeMemory,
  { fold, heldBytes, workingBytes }: RawPrepared,
  fits: readonly FitOutcome[] | null,
): NativeFoldTransaction {
  const { addon, threads, who, faults } = settings;
  return {
    fits,
    heldBytes,
    workingBytes,
    commit: () =>
      callNative(who, async () => {
        checkAttached(memory);
        const points = await addon.commit(fold, threads, faults?.commitAt ?? null);
        if (faults !== null) faults.commitPoints = points;
      }),
    rollback: () =>
      callNative(who, async () => {
        checkAttached(memory);
        await addon.rollback(fold, threads);
      }),
    dispose: () => void addon.dispose(fold),
  };
}
