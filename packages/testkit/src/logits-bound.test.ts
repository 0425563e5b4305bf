/** The bound on logits holds, and is not much too wide, for a small model in double with the engine's roundings planted. */
import { type DType, decodeF16, decodeRow, encodeF16, encodeRow } from "@kvfold/core";
import { describe, expect, it } from "vitest";
import { boundFor } from "./bounds.js";
import { allowances } from "./expect-within.js";
import { type Random, seededRandom } from "./random.js";

const HEADS = 4;
const DIM = 32;
const WIDTH = HEADS * DIM;
const VOCABULARY = 128;
const SCALE = 0.14;

type Vector = Float64Array;
type Rounding = (row: Vector) => Vector;
interface Layer {
  readonly q: Vector;
  readonly k: Vector;
  readonly v: Vector;
  readonly o: Vector;
}
interface Arithmetic {
  readonly store: Rounding;
  readonly query: Rounding;
  readonly weights: Rounding;
  /** Rounding of the running sum of values, or null for exact sums. */
  readonly sum: ((value: number) => number) | null;
}

const half = (x: number): number => decodeF16(encodeF16(x));
const through =
  (dtype: DType): Rounding =>
  (row) =>
    Float64Array.from(decodeRow(dtype, encodeRow(dtype, row), row.length));

const exact: Rounding = (row) => row;
const throughHalf = through("f16");
const matrix = (random: Random, rows: number, scale: number): Vector =>
  Float64Array.from({ length: rows * WIDTH }, () => random.normal() * scale);
const times = (m: Vector, x: Vector): Vector =>
  Float64Array.from({ length: m.length / WIDTH }, (_, row) => {
    let sum = 0;
    for (let i = 0; i < WIDTH; i++) sum += m[row * WIDTH + i]! * x[i]!;
    return sum;
  });
const normed = (x: Vector): Vector => {
  const scale = Math.sqrt(x.reduce((sum, value) => sum + value * value, 0) / x.length);
  return x.map((value) => value / scale);
};

/** Attention of one head over stored rows. */
function attend(
  q: Vector,
  rows: readonly (readonly [Vector, Vector])[],
  head: number,
  how: Arithmetic,
): Vector {
  const at = head * DIM;
  const scores = rows.map(([k]) => {
    let dot = 0;
    for (let i = 0; i < DIM; i++) dot += q[at + i]! * k[at + i]!;
    return dot / Math.sqrt(DIM);
  });
  const max = Math.max(...scores);
  const masses = Float64Array.from(scores, (score) => Math.exp(score - max));
  const total = masses.reduce((sum, mass) => sum + mass, 0);
  const shares = how.weights(masses.map((mass) => mass / total));
  const out = new Float64Array(DIM);
  rows.forEach(([, v], cell) => {
    for (let i = 0; i < DIM; i++) {
      const next = out[i]! + (how.sum ? masses[cell]! : shares[cell]!) * v[at + i]!;
      out[i] = how.sum ? how.sum(next) : next;
    }
  });
  return how.sum ? out.map((value) => value / total) : out;
}

/** One token through the model; its rows are appended to the cache. */
function step(
  layers: readonly Layer[],
  embedding: Vector,
  cache: [Vector, Vector][][],
  head: Vector,
  how: Arithmetic,
): Vector {
  const x = Float64Array.from(embedding);
  layers.forEach((layer, l) => {
    const input = normed(x);
    cache[l]!.push([how.store(times(layer.k, input)), how.store(times(layer.v, input))]);
    const q = how.query(times(layer.q, input));
    const mixed = new Float64Array(WIDTH);
    for (let h = 0; h < HEADS; h++) mixed.set(attend(q, cache[l]!, h, how), h * DIM);
    times(layer.o, mixed).forEach((value, i) => {
      x[i] = x[i]! + value;
    });
  });
  return times(head, normed(x));
}

/** The largest error of a logit as a share of what the bound allows, over 8 tokens after a prompt. */
function shareOfBound(type: "f16" | "q8_0", flashAttention: boolean, seed: number): number {
  const random = seededRandom(seed);
  const layers = [0, 1].map(() => ({
    q: matrix(random, WIDTH, SCALE),
    k: matrix(random, WIDTH, SCALE),
    v: matrix(random, WIDTH, SCALE),
    o: matrix(random, WIDTH, SCALE),
  }));
  const head = matrix(random, VOCABULARY, SCALE);
  const token = (): Vector => Float64Array.from({ length: WIDTH }, () => random.normal());
  const rounding = through(type);
  const truth: Arithmetic = { store: rounding, query: exact, weights: exact, sum: null };
  const engine: Arithmetic = {
    store: rounding,
    query: rounding,
    weights: flashAttention ? exact : throughHalf,
    sum: flashAttention && type === "f16" ? half : null,
  };
  const prompt: [Vector, Vector][][] = [[], []];
  const cells = 96;
  for (let i = 0; i < cells; i++) step(layers, token(), prompt, head, truth);
  const ours = prompt.map((rows) => [...rows]);
  const theirs = prompt.map((rows) => [...rows]);
  const bound = boundFor("logits", type, {
    flashAttention,
    layers: 2,
    cells,
    scoreRms: SCALE * SCALE * WIDTH,
  });
  let worst = 0;
  for (let i = 0; i < 8; i++) {
    const next = token();
    const want = step(layers, next, ours, head, truth);
    const got = step(layers, next, theirs, head, engine);
    const allowed = allowances(want, bound);
    want.forEach((value, j) => {
      worst = Math.max(worst, Math.abs(got[j]! - value) / allowed[j]!);
    });
  }
  return worst;
}

describe("the bound on logits", () => {
  it.each([
    ["f16", false],
    ["f16", true],
    ["q8_0", true],
    ["q8_0", false],
  ] as const)("%s, flash attention %s: holds with room, and a tenfold error would show", (type, flash) => {
    const shares = [1, 2, 3].map((seed) => shareOfBound(type, flash, seed));
    expect(Math.max(...shares)).toBeLessThan(0.5);
    expect(Math.max(...shares)).toBeGreaterThan(1 / 8);
  });
});
