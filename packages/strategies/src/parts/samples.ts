/** What a strategy asks of the sampled queries of a view before it uses them. */
import { type CacheView, KvfoldError, type QuerySample } from "@kvfold/core";

const SIGNAL_HINT = "ask for the signal queries before the prompt is read: it cannot be had afterwards";

/**
 * The sampled queries, with at least one sample, for every layer.
 * @throws KvfoldError KVFOLD_SIGNAL_MISSING, KVFOLD_NOT_APPLICABLE for a layer whose queries say too little
 */
export function needQueries({ shape, signals: { queries } }: CacheView, who: string): QuerySample {
  if (queries === null || queries.positions.length === 0) {
    const what = queries === null ? "the cache has no signal queries" : "the sample of queries is empty";
    throw new KvfoldError("KVFOLD_SIGNAL_MISSING", what, { who, hint: SIGNAL_HINT });
  }
  const lacking = shape.layers.findIndex((_, index) => !queries.layers[index]);
  if (lacking >= 0) {
    const what = `there are no queries of layer ${shape.layers[lacking]!.layer}, whose attention is no plain softmax`;
    throw new KvfoldError("KVFOLD_NOT_APPLICABLE", what, { who, hint: "use evict(by=keydiff)" });
  }
  return queries;
}

/** Query heads for each KV head, by layer of the view. */
export const groupsOf = ({ shape }: CacheView, sample: QuerySample): number[] =>
  shape.layers.map(({ kvHeads }, index) => sample.layers[index]!.heads / kvHeads);

/**
 * Query rows of each KV head of one layer: whole samples, each of `group` rows, at most `maxRows`.
 * @throws KvfoldError KVFOLD_ARGUMENT where not even one sample fits
 */
export function queryRows(sample: QuerySample, group: number, maxRows: number, who: string): number {
  const samples = Math.min(sample.positions.length, Math.floor(maxRows / group));
  if (samples > 0) return samples * group;
  throw new KvfoldError("KVFOLD_ARGUMENT", `maxRows is ${maxRows}, but one sample has ${group} rows`, {
    who,
    hint: `use a maxRows of at least ${group}, better 4096`,
  });
}

/** The samples of the highest positions, in rising order of position. All where there are fewer. */
export function newestSamples(sample: QuerySample, count: number): Uint32Array {
  const { positions } = sample;
  return Uint32Array.from(positions.keys())
    .sort((a, b) => positions[a]! - positions[b]! || a - b)
    .slice(-count);
}
