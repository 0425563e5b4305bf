/** Caches with structure: keys and values in a few topics, and queries that ask for topics. */
import {
  attendHead,
  type CacheView,
  type CompositePlan,
  createMemoryCache,
  type DType,
  encodeF16,
  futureQueries,
  hashQueries,
  type LayerShape,
  type MemoryCache,
  type QuerySample,
  ropeFrequencies,
  rotateHead,
  rotationBy,
} from "@kvfold/core";
import { type Random, seededRandom } from "@kvfold/testkit";

const TOPICS = 6;
const DIM = 32;
const GROUP = 2;
const KV_HEADS = 2;
const LAYERS = 2;

const layerShape = (layer: number, type: DType): LayerShape => ({
  layer,
  kvHeads: KV_HEADS,
  queryHeads: KV_HEADS * GROUP,
  keyDim: DIM,
  valueDim: DIM,
  keyType: type,
  valueType: type,
  valueLayout: "rows",
  rope: { pairing: "half", dims: DIM, frequencies: ropeFrequencies({ dims: DIM, base: 10_000 }) },
  hadamard: type === "q8_0" ? { key: DIM, value: DIM } : { key: 0, value: 0 },
  window: null,
});

/** A world of topics: the same seed has the same topics, whatever is drawn from it. */
export interface Topics {
  /** A cache of `cells` tokens that wander from topic to topic, with sampled queries. */
  cache(cells: number, type: DType, queries: QuerySample): MemoryCache;
  /** Queries asked at positions below `cells`. */
  queries(seed: number, samples: number, cells: number): QuerySample;
}

type Directions = Float64Array[][];

export function topics(seed: number): Topics {
  const random = seededRandom(seed);
  const heads = Array.from({ length: LAYERS * KV_HEADS }, (_, head) => head);
  const directions = (): Directions =>
    heads.map(() => Array.from({ length: TOPICS }, () => Float64Array.from({ length: DIM }, random.normal)));
  const keys = directions();
  const values = directions();
  const layers = [0, 1];
  return {
    cache: (cells, type, queries) => {
      const cellRandom = seededRandom(seed + 1);
      const topicOf = wander(cellRandom, cells);
      const plane = (from: Directions, layer: number, noise: number, rotated: boolean): Float32Array =>
        Float32Array.from(
          Array.from({ length: KV_HEADS * cells }, (_, i) => {
            const row = near(
              cellRandom,
              from[layer * KV_HEADS + Math.floor(i / cells)]![topicOf[i % cells]!]!,
              noise,
            );
            if (rotated) turn(row, i % cells, type);
            return [...row];
          }).flat(),
        );
      return createMemoryCache({
        layers: layers.map((layer) => layerShape(layer, type)),
        capacity: cells,
        keys: layers.map((layer) => plane(keys, layer, 0.7, true)),
        values: layers.map((layer) => plane(values, layer, 0.5, false)),
        positions: Int32Array.from({ length: cells }, (_, cell) => cell),
        tokenLogProbs: Float32Array.from({ length: cells }, () => -4 * cellRandom.next()),
        queries,
      });
    },
    queries: (own, samples, cells) => askTopics(seededRandom(own), keys, samples, cells),
  };
}

/** Relative error of attention outputs on queries that a fit has not seen: after the fold, against before. */
export async function outputError(before: CacheView, after: CacheView, asked: QuerySample): Promise<number> {
  let [missed, target] = [0, 0];
  for (let layer = 0; layer < LAYERS; layer++) {
    for (let head = 0; head < KV_HEADS; head++) {
      const want = await outputs(before, layer, head, asked);
      const got = await outputs(after, layer, head, asked);
      want.forEach((value, i) => {
        missed += (got[i]! - value) ** 2;
        target += value ** 2;
      });
    }
  }
  return Math.sqrt(missed / target);
}

/** Values of every layer and head that a plan leaves alone, before and after. */
export async function readOnlyValues(
  before: readonly Float32Array[],
  after: CacheView,
  plan: CompositePlan,
): Promise<{ readonly kept: number[]; readonly now: number[] }> {
  const [kept, now]: [number[], number[]] = [[], []];
  for (let layer = 0; layer < LAYERS; layer++) {
    const values = await after.values(layer);
    for (let i = 0; i < KV_HEADS * plan.rows; i++) {
      const index = layer * KV_HEADS * plan.rows + i;
      if ((plan.fit?.free[index] ?? 0) > 0) continue;
      const cell = Math.floor(i / plan.rows) * plan.cells + plan.members[index]!;
      kept.push(...before[layer]!.subarray(cell * DIM, (cell + 1) * DIM));
      now.push(...values.subarray(i * DIM, (i + 1) * DIM));
    }
  }
  return { kept, now };
}

// ---------------------------------------------------------------------------------------------------------------

/** Runs of one topic, of about ten cells. */
function wander(random: Random, cells: number): number[] {
  let topic = 0;
  return Array.from({ length: cells }, () => {
    if (random.next() < 0.1) topic = random.below(TOPICS);
    return topic;
  });
}

const near = (random: Random, direction: Float64Array, noise: number): Float64Array =>
  direction.map((value) => value + noise * random.normal());

function turn(row: Float64Array, position: number, type: DType): void {
  const { rope } = layerShape(0, type);
  rotateHead(row, 0, rope!, rotationBy(rope!, position));
}

function askTopics(random: Random, keys: Directions, samples: number, cells: number): QuerySample {
  const positions = Int32Array.from({ length: samples }, () => random.below(cells));
  const layers = Array.from({ length: LAYERS }, (_, layer) => {
    const rows = new Uint16Array(samples * KV_HEADS * GROUP * DIM);
    for (let row = 0; row < samples * KV_HEADS * GROUP; row++) {
      const head = layer * KV_HEADS + Math.floor((row % (KV_HEADS * GROUP)) / GROUP);
      const query = near(random, keys[head]![random.below(TOPICS)]!, 0.7);
      turn(query, positions[Math.floor(row / (KV_HEADS * GROUP))]!, "f32");
      rows.set(Uint16Array.from(query, encodeF16), row * DIM);
    }
    return { heads: KV_HEADS * GROUP, scale: 1 / Math.sqrt(DIM), rows };
  });
  return { positions, layers, hash: hashQueries({ positions, layers }) };
}

async function outputs(
  view: CacheView,
  layer: number,
  head: number,
  asked: QuerySample,
): Promise<Float64Array> {
  const { cells, layers } = view.shape;
  const part = (all: Float32Array): Float32Array =>
    all.subarray(head * cells * DIM, (head + 1) * cells * DIM);
  const last = view.positions[cells - 1]!;
  return attendHead({
    dim: DIM,
    valueDim: DIM,
    queries: futureQueries(asked, layer, layers[layer]!, head, { last }),
    keys: part(await view.keys(layer, "stored")),
    values: part(await view.values(layer)),
    bias: view.bias,
  }).outputs!;
}
