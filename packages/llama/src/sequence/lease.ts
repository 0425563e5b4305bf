/** The view of a live sequence: metadata copied, keys and values read where they lie. */
import { type CacheLease, type CacheView, type KeyFrame, type Ops, referenceOps } from "@kvfold/core";
import type { NativeTarget } from "@kvfold/native";
import { failure } from "../native/errors.js";
import { attendFuture, type KeptOutputs, noOutputs } from "./attend.js";
import { querySample } from "./queries.js";
import { repeatNow } from "./repeat.js";
import { viewSlots } from "./slots.js";
import { needStill, needUsable, type SequenceState, shapeOf, targetOf } from "./state.js";

export interface Held {
  readonly state: SequenceState;
  readonly target: NativeTarget;
  readonly outputs: KeptOutputs;
  /** What `state.lease` is while the lease is held. */
  readonly token: object;
}

const held = new WeakMap<object, Held>();

/** What a lease was made of, or null if it is none of ours. */
export const heldBy = (view: object): Held | null => held.get(view) ?? null;

function needFresh(state: SequenceState, view: CacheView): void {
  needUsable(state);
  if (view.generation === state.generation) return;
  const what = `the view is of generation ${view.generation}, the cache of ${state.generation}`;
  throw failure("KVFOLD_VIEW_STALE", what, "take a new lease");
}

function needLayer(view: CacheView, layer: number): void {
  if (view.shape.layers[layer] !== undefined) return;
  throw failure("KVFOLD_ARGUMENT", `layer ${layer} of ${view.shape.layers.length}`);
}

/**
 * Holds the cells still until released.
 * @throws KvfoldError KVFOLD_CACHE_BUSY, KVFOLD_CACHE_EMPTY, KVFOLD_UNSUPPORTED
 */
export async function takeLease(state: SequenceState): Promise<CacheLease> {
  needStill(state);
  if (state.waiting > 0)
    throw failure("KVFOLD_CACHE_BUSY", "another call is at work on the sequence", "await it first");
  shapeOf(state);
  if (state.sidecar.cells === 0)
    throw failure("KVFOLD_CACHE_EMPTY", "the sequence holds no cells", "prefill first");
  const token = {};
  state.lease = token;
  try {
    return await state.context.gate.run(() => makeLease(state, token));
  } catch (error) {
    state.lease = null;
    throw error;
  }
}

async function makeLease(state: SequenceState, token: object): Promise<CacheLease> {
  needUsable(state);
  const { context } = state;
  const target = targetOf(state, context.memory(state.id), viewSlots(state));
  const records = state.sidecar.records();
  const { tokenText } = context;
  const queries = await querySample(state);
  const read = async (layer: number, job: () => Promise<Float32Array>): Promise<Float32Array> => {
    needLayer(lease, layer);
    needFresh(state, lease);
    return context.gate.run(() => {
      needFresh(state, lease);
      return job();
    });
  };
  const lease: CacheLease = {
    shape: target.shape,
    generation: state.generation,
    positions: records.positions.slice(),
    counts: records.counts.slice(),
    bias: records.bias?.slice() ?? null,
    tokens: records.tokens.slice(),
    signals: {
      tokenLogProbs: state.hasLogProbs ? records.logProbs.slice() : null,
      queries,
      repeat: repeatNow(state),
    },
    ...(tokenText === null ? {} : { tokenText }),
    sources: (layer: number) => records.sources[layer]?.slice() ?? null,
    keys: (layer: number, frame: KeyFrame) => read(layer, () => context.ops().keys(target, layer, frame)),
    values: (layer: number) => read(layer, () => context.ops().values(target, layer)),
    release: () => {
      if (state.lease === token) state.lease = null;
    },
  };
  held.set(lease, { state, target, outputs: noOutputs(), token });
  return lease;
}

/** Operations on the views of this sequence, run natively next to the data; on other views by the reference. */
export function sequenceOps(state: SequenceState): Ops {
  return {
    keyStats: async (view, layer, options = {}) => {
      const own = heldBy(view);
      if (own === null || own.state !== state) return referenceOps.keyStats(view, layer, options);
      needLayer(view, layer);
      needFresh(state, view);
      return state.context.gate.run(() => {
        needFresh(state, view);
        return state.context.ops().keyStats(own.target, layer, options);
      });
    },
    attend: async (view, layer, options = {}) => {
      const own = heldBy(view);
      if (own === null || own.state !== state) return referenceOps.attend(view, layer, options);
      needLayer(view, layer);
      needFresh(state, view);
      return state.context.gate.run(() => {
        needFresh(state, view);
        return attendFuture(state, own.target, own.outputs, view.signals.queries, layer, options);
      });
    },
  };
}
