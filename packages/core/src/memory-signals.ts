/** Signals handed to a cache in memory fit its layers. */
import { KvfoldError } from "./errors.js";
import type { QuerySample } from "./queries.js";
import type { CacheShape } from "./shape.js";
import type { RepeatAttention } from "./view.js";

const wrong = (what: string): KvfoldError => new KvfoldError("KVFOLD_ARGUMENT", what, { who: "memory" });

/** @throws KvfoldError KVFOLD_ARGUMENT */
export function checkQueries(sample: QuerySample, shape: CacheShape): void {
  if (sample.layers.length !== shape.layers.length) {
    throw wrong(`queries of ${sample.layers.length} layers, the shape has ${shape.layers.length}`);
  }
  shape.layers.forEach((layer, index) => {
    const queries = sample.layers[index] ?? null;
    if (queries === null) return;
    const { heads, scale, rows } = queries;
    if (!Number.isSafeInteger(heads) || heads < 1 || heads % layer.kvHeads !== 0) {
      throw wrong(`layer ${index} has ${layer.kvHeads} KV heads, its queries ${heads} heads`);
    }
    if (!Number.isFinite(scale)) throw wrong(`the attention scale of layer ${index} is ${scale}`);
    const want = sample.positions.length * heads * layer.keyDim;
    if (rows.length !== want) {
      throw wrong(`the queries of layer ${index} have ${rows.length} numbers, must have ${want}`);
    }
  });
}

/** @throws KvfoldError KVFOLD_ARGUMENT */
export function checkRepeat(repeat: RepeatAttention, shape: CacheShape): void {
  if (repeat.layers.length !== shape.layers.length) {
    throw wrong(`repeat attention of ${repeat.layers.length} layers, the shape has ${shape.layers.length}`);
  }
  shape.layers.forEach((layer, index) => {
    const want = layer.kvHeads * shape.cells;
    const { length } = repeat.layers[index]!;
    if (length !== want)
      throw wrong(`the repeat attention of layer ${index} has ${length} numbers, must have ${want}`);
  });
}
