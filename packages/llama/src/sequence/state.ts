/** What the parts of a sequence share: the context behind it, the records of its cells, and what it is busy with. */
import type { CacheShape, LayerShape } from "@kvfold/core";
import type { CellsAccess, CellsTarget } from "../cells/access.js";
import type { ContextState } from "../context/state.js";
import { failure } from "../native/errors.js";
import type { HeldQueries } from "./queries.js";
import type { HeldRepeat } from "./repeat.js";
import { createSidecar, type Sidecar } from "./sidecar.js";

/** Moments of a fold that a test may stop at. */
export interface FoldFaults {
  /** In place of the executor of the context. */
  readonly executor?: Pick<CellsAccess, "supports" | "prepare">;
  /** Read call of the metadata commit that throws; -1: none. */
  readonly metadataReadAt?: number;
  /** Called at named moments; may throw. */
  readonly at?: (moment: FoldMoment) => void;
}

export const FOLD_MOMENTS = ["prepared", "written", "committed", "recorded"] as const;
export type FoldMoment = (typeof FOLD_MOMENTS)[number];

export interface SequenceState {
  readonly context: ContextState;
  readonly id: number;
  readonly sidecar: Sidecar;
  /** Grows with every change of the cells. */
  generation: number;
  tokensSeen: number;
  attentionLength: number;
  /** Logits after the last evaluated token, or null. [vocabulary] */
  lastLogits: Float32Array | null;
  /** A lease that is held. */
  lease: object | null;
  folding: boolean;
  /** Calls that wait or run. */
  waiting: number;
  /** Set when a fold could neither finish nor be undone: the cells cannot be trusted any more. */
  broken: Error | null;
  /** Signals that the records hold. */
  hasLogProbs: boolean;
  /** The sample of the queries of all tokens, or null. */
  queries: HeldQueries | null;
  /** What a second reading attended to, or null. */
  repeat: HeldRepeat | null;
  faults: FoldFaults;
}

export function createSequenceState(context: ContextState, id: number): SequenceState {
  return {
    context,
    id,
    sidecar: createSidecar(context.layout?.layers.map((layer) => layer.kvHeads) ?? []),
    generation: 0,
    tokensSeen: 0,
    attentionLength: 0,
    lastLogits: null,
    lease: null,
    folding: false,
    waiting: 0,
    broken: null,
    hasLogProbs: false,
    queries: null,
    repeat: null,
    faults: {},
  };
}

/** @throws KvfoldError KVFOLD_DISPOSED, or what broke the sequence */
export function needUsable(state: SequenceState, mends = false): void {
  if (state.context.disposed) throw failure("KVFOLD_DISPOSED", "the context was already freed");
  if (state.broken !== null && !mends) throw state.broken;
}

/** @throws KvfoldError KVFOLD_CACHE_BUSY while a lease is held or a fold runs */
export function needStill(state: SequenceState, mends = false): void {
  needUsable(state, mends);
  if (state.folding) throw failure("KVFOLD_CACHE_BUSY", "a fold is in progress", "await it first");
  if (state.lease !== null)
    throw failure("KVFOLD_CACHE_BUSY", "the cache is leased", "release the lease first");
}

/** @throws KvfoldError KVFOLD_UNSUPPORTED with the reason why this cache cannot be folded */
export function needLayers(state: SequenceState): readonly LayerShape[] {
  const { layout, raw } = state.context;
  if (layout !== null) return layout.layers;
  throw failure(
    "KVFOLD_UNSUPPORTED",
    `this cache cannot be folded: ${raw.problem}`,
    "the model can still be used without folding",
  );
}

/** The shape at this moment. */
export const shapeOf = (state: SequenceState): CacheShape => ({
  layers: needLayers(state),
  cells: state.sidecar.cells,
});

/** The cells of the sequence for native code. `slots` in view order. */
export function targetOf(state: SequenceState, slots: Uint32Array): CellsTarget {
  const { positions, sources, bias } = state.sidecar.records();
  return {
    shape: { layers: needLayers(state), cells: positions.length },
    slots,
    positions,
    sources,
    bias,
  };
}
