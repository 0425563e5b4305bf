/** A cache in typed arrays: for tests, for research, and as the smallest complete engine. */
import type { ApplyReport, CacheLease, KvCache } from "./cache.js";
import { KvfoldError, throwIfAborted } from "./errors.js";
import type { Executor, FoldTransaction, MemoryTarget, PrepareOptions } from "./executor.js";
import { fillMemory, type MemoryContents } from "./memory-fill.js";
import { checkQueries, checkRepeat } from "./memory-signals.js";
import { type MemoryState, viewMemory } from "./memory-view.js";
import { referenceOps } from "./ops-reference.js";
import { checkPlan } from "./plan/check.js";
import type { MergePlan } from "./plan/plan.js";
import { nextBias, nextRepeat, nextSources, nextTokenLogProbs, nextTokens } from "./plan/rows.js";
import type { QuerySample } from "./queries.js";
import { referenceExecutor } from "./reference/executor.js";
import { keyPlane, valuePlane } from "./reference/planes.js";
import type { RepeatAttention } from "./view.js";

export interface MemoryCacheOptions extends MemoryContents {
  /** Default `memory`. */
  readonly name?: string;
  /** Tokens inside each cell; default 1. [cells] */
  readonly counts?: Uint32Array;
  /** Token ids, -1 where unknown; default none. [cells] */
  readonly tokens?: Int32Array | null;
  /** log p(token | tokens before it); default none. [cells] */
  readonly tokenLogProbs?: Float32Array | null;
  /** A sample of the prompt's queries; default none. Folds leave it as it is. */
  readonly queries?: QuerySample | null;
  /** What a second reading attended to; default none. */
  readonly repeat?: RepeatAttention | null;
  /** Additive logit bias; default none. [cells] */
  readonly bias?: Float32Array | null;
  readonly tokenText?: (token: number) => string;
  /** Physical cells of other sequences: no fold lands there. */
  readonly reserved?: Uint32Array;
  /** Default: the reference executor. */
  readonly executor?: Executor<MemoryTarget>;
}

/** A cache whose memory can be looked at. */
export interface MemoryCache extends KvCache {
  /** The live buffers and maps of this moment; a fold replaces the maps and writes into the buffers. */
  memory(): MemoryTarget;
}

/**
 * Makes a cache of one sequence in typed arrays. A fold packs it into the lowest physical cells that are free or its
 * own.
 *
 * @throws KvfoldError KVFOLD_ARGUMENT, KVFOLD_UNSUPPORTED when arrays and shape disagree
 *
 * @example
 * const cache = createMemoryCache({ layers: [layer], capacity: 256, keys: [keys], values: [values], positions });
 * const lease = await cache.lease();
 * await cache.apply(lease, keepPlan(lease, [0, 1, 6, 7]));
 * lease.release();
 */
export function createMemoryCache(options: MemoryCacheOptions): MemoryCache {
  const executor = options.executor ?? referenceExecutor;
  const reserved = new Set(options.reserved ?? []);
  let state = firstState(options, reserved);
  const tokensSeen = state.counts.reduce((sum, count) => sum + count, 0);
  let held: CacheLease | null = null;
  let folding = false;
  let broken: KvfoldError | null = null;
  const fold = async (
    lease: CacheLease,
    plan: MergePlan,
    signal: AbortSignal | undefined,
  ): Promise<ApplyReport> => {
    checkPlan(plan, lease);
    const before = state;
    const after = stateAfter(before, plan, reserved);
    const prepareOptions = {
      destinations: after.target.slots,
      queries: before.queries,
      ...(signal === undefined ? {} : { signal }),
    };
    const fits = await execute(executor, before.target, plan, prepareOptions).catch((cause: unknown) => {
      if (cause instanceof KvfoldError && cause.code === "KVFOLD_INTERNAL") broken = cause;
      throw cause;
    });
    state = after;
    return { bytesFreed: (before.target.shape.cells - plan.rows) * bytesOfCell(before.target), fits };
  };
  return {
    name: options.name ?? "memory",
    ops: referenceOps,
    tokensSeen,
    get shape() {
      return state.target.shape;
    },
    memory: () => state.target,
    async lease() {
      if (broken !== null) throw broken;
      if (held !== null || folding) throw busy("the cache is leased", "release the lease first");
      if (state.target.shape.cells === 0) {
        throw new KvfoldError("KVFOLD_CACHE_EMPTY", "the sequence holds no cells", { who: "memory" });
      }
      const lease: CacheLease = {
        ...viewMemory(state, () => state.generation, options.tokenText),
        release() {
          if (held === lease) held = null;
        },
      };
      held = lease;
      return lease;
    },
    async apply(lease, plan, { signal } = {}) {
      if (folding) throw busy("a fold is in progress", "await it first");
      needCurrent(lease, held, state.generation);
      throwIfAborted(signal, "memory");
      folding = true;
      try {
        return await fold(lease, plan, signal);
      } finally {
        folding = false;
      }
    },
  };
}

const busy = (what: string, hint: string): KvfoldError =>
  new KvfoldError("KVFOLD_CACHE_BUSY", what, { who: "memory", hint });

function needCurrent(lease: CacheLease, held: CacheLease | null, generation: number): void {
  if (lease === held && lease.generation === generation) return;
  const what =
    lease === held ? "the lease was already used for a fold" : "the lease is not held by this cache";
  throw new KvfoldError("KVFOLD_VIEW_STALE", what, {
    who: "memory",
    hint: "take a new lease and plan again",
  });
}

function firstState(options: MemoryCacheOptions, reserved: ReadonlySet<number>): MemoryState {
  const target = fillMemory(options);
  const { cells } = target.shape;
  const own = target.slots.find((slot) => reserved.has(slot));
  if (own !== undefined) throw wrong(`physical cell ${own} is both reserved and in use`);
  const { queries = null, repeat = null } = options;
  if (queries !== null) checkQueries(queries, target.shape);
  if (repeat !== null) checkRepeat(repeat, target.shape);
  const state: MemoryState = {
    generation: 0,
    target: { ...target, bias: copy("bias", options.bias, cells) },
    counts: copy("counts", options.counts, cells) ?? new Uint32Array(cells).fill(1),
    bias: copy("bias", options.bias, cells),
    tokens: copy("tokens", options.tokens, cells),
    tokenLogProbs: copy("tokenLogProbs", options.tokenLogProbs, cells),
    queries,
    repeat,
  };
  if (state.counts.includes(0)) throw wrong(`cell ${state.counts.indexOf(0)} counts no token`);
  if (state.bias !== null && !state.bias.every(Number.isFinite)) throw wrong("a bias is not finite");
  return state;
}

const wrong = (what: string): KvfoldError => new KvfoldError("KVFOLD_ARGUMENT", what, { who: "memory" });

function copy<T extends Uint32Array | Int32Array | Float32Array>(
  name: string,
  array: T | null | undefined,
  cells: number,
): T | null {
  if (array === null || array === undefined) return null;
  if (array.length !== cells) throw wrong(`${array.length} ${name} for ${cells} cells`);
  return array.slice() as T;
}

/** The state that a plan leads to. Buffers are shared with the state before, maps are new. */
function stateAfter(before: MemoryState, plan: MergePlan, reserved: ReadonlySet<number>): MemoryState {
  const { target } = before;
  const { shape } = target;
  return {
    generation: before.generation + 1,
    target: {
      ...target,
      shape: { ...shape, cells: plan.rows },
      slots: lowestSlots(plan.rows, target.capacity, reserved),
      positions: plan.positions.slice(),
      bias: nextBias(plan),
      sources: shape.layers.map((_, layer) =>
        nextSources(plan, shape, layer, target.positions, target.sources[layer] ?? null),
      ),
    },
    counts: plan.counts.slice(),
    bias: nextBias(plan),
    tokens: nextTokens(plan, before.tokens),
    tokenLogProbs: nextTokenLogProbs(plan, before.tokenLogProbs),
    queries: before.queries,
    repeat: nextRepeat(plan, shape, before.repeat),
  };
}

/** Whatever is not reserved is free or our own. There are at least `rows` of them, since the cells fit before. */
function lowestSlots(rows: number, capacity: number, reserved: ReadonlySet<number>): Uint32Array {
  const slots = new Uint32Array(rows);
  for (let slot = 0, row = 0; row < rows && slot < capacity; slot++)
    if (!reserved.has(slot)) slots[row++] = slot;
  return slots;
}

function bytesOfCell(target: MemoryTarget): number {
  const planes = target.shape.layers.flatMap((_, layer) => [
    keyPlane(target, layer),
    valuePlane(target, layer),
  ]);
  return planes.reduce((sum, plane) => sum + plane.rowBytes, 0);
}

/** Prepares and commits; on any failure every byte is as before, or the error is KVFOLD_INTERNAL. */
async function execute(
  executor: Executor<MemoryTarget>,
  target: MemoryTarget,
  plan: MergePlan,
  options: PrepareOptions,
): Promise<FoldTransaction["fits"]> {
  const supported = executor.supports(target.shape);
  if (supported !== true) throw new KvfoldError("KVFOLD_UNSUPPORTED", supported, { who: executor.name });
  const transaction = await executor.prepare(target, plan, options);
  try {
    await transaction.commit();
    return transaction.fits;
  } catch (cause) {
    await transaction.rollback().catch((second: unknown) => {
      throw new KvfoldError("KVFOLD_INTERNAL", "a fold failed and could not be undone", {
        who: executor.name,
        hint: "discard this cache",
        cause: new AggregateError([cause, second]),
      });
    });
    throw cause;
  } finally {
    transaction.dispose();
  }
}
