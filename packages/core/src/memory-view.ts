/** The view of a cache in memory: copies of its metadata, floats made when asked for. */
import { KvfoldError } from "./errors.js";
import type { MemoryTarget } from "./executor.js";
import type { QuerySample } from "./queries.js";
import { readKeys, readValues } from "./reference/read.js";
import type { CacheView, RepeatAttention } from "./view.js";

/** One state of a cache in memory; replaced as a whole by a fold. */
export interface MemoryState {
  readonly generation: number;
  readonly target: MemoryTarget;
  readonly counts: Uint32Array;
  readonly bias: Float32Array | null;
  readonly tokens: Int32Array | null;
  readonly tokenLogProbs: Float32Array | null;
  readonly queries: QuerySample | null;
  readonly repeat: RepeatAttention | null;
}

/**
 * A view of one state.
 * @param current generation of the cache now
 */
export function viewMemory(
  state: MemoryState,
  current: () => number,
  tokenText: ((token: number) => string) | undefined,
): CacheView {
  const { target, generation } = state;
  const need = (layer: number): void => {
    if (generation !== current()) {
      throw new KvfoldError(
        "KVFOLD_VIEW_STALE",
        `the view is of generation ${generation}, the cache of ${current()}`,
        {
          who: "memory",
          hint: "take a new lease",
        },
      );
    }
    if (target.shape.layers[layer] === undefined) {
      const what = `layer ${layer} of ${target.shape.layers.length}`;
      throw new KvfoldError("KVFOLD_ARGUMENT", what, { who: "memory" });
    }
  };
  const sources = target.sources.map((map) => map?.slice() ?? null);
  return {
    shape: target.shape,
    generation,
    positions: target.positions.slice(),
    counts: state.counts.slice(),
    bias: state.bias?.slice() ?? null,
    tokens: state.tokens?.slice() ?? null,
    signals: {
      tokenLogProbs: state.tokenLogProbs?.slice() ?? null,
      queries: state.queries,
      repeat: state.repeat,
    },
    ...(tokenText === undefined ? {} : { tokenText }),
    sources: (layer) => sources[layer] ?? null,
    async keys(layer, frame) {
      need(layer);
      return readKeys(target, layer, frame);
    },
    async values(layer) {
      need(layer);
      return readValues(target, layer);
    },
  };
}
