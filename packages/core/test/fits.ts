/** Fit requests and query samples for the tests of this package. */
import {
  type CacheShape,
  createRandom,
  encodeF16,
  type FitRequest,
  hashQueries,
  type QuerySample,
} from "../src/index.js";

/** A request of ordinary numbers; override what a test is about. */
export const fitOf = (change: Pick<FitRequest, "free"> & Partial<FitRequest>): FitRequest => ({
  method: "ridge",
  lambda: 0.01,
  queries: "0123456789abcdef".repeat(4),
  horizon: 64,
  maxRows: 4096,
  holdout: 5,
  ...change,
});

/** Queries of uniform channels in -2..2, so that scores reach a few units; positions 0, 1, 2 ... */
export function randomSample(shape: CacheShape, samples: number, seed = 5): QuerySample {
  const random = createRandom(seed);
  const bare = {
    positions: Int32Array.from({ length: samples }, (_, index) => index),
    layers: shape.layers.map(({ queryHeads: heads, keyDim }) => ({
      heads,
      scale: 1 / Math.sqrt(keyDim),
      rows: Uint16Array.from({ length: samples * heads * keyDim }, () => encodeF16(4 * random() - 2)),
    })),
  };
  return { ...bare, hash: hashQueries(bare) };
}
