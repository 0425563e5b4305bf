/** Seeded signals of a prompt: sampled queries, and what a second reading attended to. */
import {
  type CacheShape,
  encodeF16,
  hashQueries,
  type LayerShape,
  type QueryLayer,
  type QuerySample,
  type RepeatAttention,
  rotateHead,
  rotationBy,
} from "@kvfold/core";
import { type Random, seededRandom } from "./random.js";

/**
 * A sample of queries for every layer of a shape: of each head a common direction and noise, rotated at positions of a
 * prompt twice as long as the cache. Attention of such queries is neither flat nor on one cell.
 *
 * @example
 * const sample = fakeQueries(7, fakeShape({ cells: 64 }), 128);
 * createMemoryCache({ ...contents, queries: sample });
 */
export function fakeQueries(seed: number, shape: CacheShape, samples: number): QuerySample {
  const random = seededRandom(seed);
  const positions = Int32Array.from({ length: samples }, () => random.below(2 * shape.cells));
  const layers = shape.layers.map((layer) => fakeLayer(random, layer, positions));
  return { positions, layers, hash: hashQueries({ positions, layers }) };
}

function fakeLayer(random: Random, layer: LayerShape, positions: Int32Array): QueryLayer {
  const { queryHeads: heads, keyDim } = layer;
  const base = Float64Array.from({ length: heads * keyDim }, () => random.normal());
  const rows = new Uint16Array(positions.length * heads * keyDim);
  positions.forEach((position, index) => {
    const row = base.map((value) => 0.8 * value + 1.2 * random.normal());
    for (let head = 0; head < heads; head++) {
      if (layer.rope) rotateHead(row, head * keyDim, layer.rope, rotationBy(layer.rope, position));
    }
    rows.set(Uint16Array.from(row, encodeF16), index * row.length);
  });
  return { heads, scale: 1 / Math.sqrt(keyDim), rows };
}

/** Attention of a second reading: most cells get little, a few and all needles a lot. */
export function fakeRepeat(
  seed: number,
  shape: CacheShape,
  needles: readonly number[] = [],
): RepeatAttention {
  const random = seededRandom(seed);
  return {
    layers: shape.layers.map(({ kvHeads }) =>
      Float32Array.from({ length: kvHeads * shape.cells }, (_, i) =>
        needles.includes(i % shape.cells) ? 0.9 : 0.8 * random.next() ** 4,
      ),
    ),
  };
}
