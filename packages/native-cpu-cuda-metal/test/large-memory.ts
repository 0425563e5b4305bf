/** Memory large enough that a job takes a while; content from a cheap generator. Shared by the tests beside it. */
import type { CompositePlan, MemoryTarget, SharedPlan } from "@kvfold/core";
import { fakeShape } from "@kvfold/testkit";

export interface LargeOptions {
  readonly cells: number;
  readonly layers: number;
  readonly kvHeads?: number;
  readonly dim?: number;
}

/** f32, half-pair RoPE, every cell in use, numbers in [-1, 1). */
export function largeMemory({ cells, layers, kvHeads = 4, dim = 64 }: LargeOptions): MemoryTarget {
  const shape = fakeShape({ cells, layers, kvHeads, keyDim: dim, rope: "half" });
  let state = 1;
  const buffer = (): Uint8Array => {
    const floats = new Float32Array(cells * kvHeads * dim);
    for (let i = 0; i < floats.length; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) | 0; // Numerical Recipes, ch. 7.1
      floats[i] = state / 2 ** 31;
    }
    return new Uint8Array(floats.buffer);
  };
  return {
    shape,
    capacity: cells,
    slots: Uint32Array.from({ length: cells }, (_, i) => i),
    positions: Int32Array.from({ length: cells }, (_, i) => i),
    sources: shape.layers.map(() => null),
    keys: shape.layers.map(buffer),
    values: shape.layers.map(buffer),
  };
}

const count = (length: number, value: (i: number) => number): Uint32Array =>
  Uint32Array.from({ length }, (_, i) => value(i));

/** Groups of four neighbours become their mean, keys re-rotated to a quarter of the position: nothing is a copy. */
export function squeezeByFour(cells: number): SharedPlan {
  const rows = cells / 4;
  const weights = { scope: "all", data: new Float32Array(cells).fill(0.25) } as const;
  return {
    version: 1,
    layout: "shared",
    cells,
    rows,
    positions: Int32Array.from({ length: rows }, (_, i) => i),
    counts: count(rows, () => 4),
    dropped: 0,
    bias: null,
    pins: null,
    fit: null,
    values: null,
    offsets: count(rows + 1, (i) => 4 * i),
    members: count(cells, (i) => i),
    keyWeights: weights,
    valueWeights: weights,
    keyFrame: "target",
  };
}

/** Every head keeps every fourth cell, starting at another one. */
export function everyFourth(cells: number, layers: number, kvHeads: number): CompositePlan {
  const rows = cells / 4;
  return {
    version: 1,
    layout: "composite",
    cells,
    rows,
    layers,
    kvHeads,
    positions: Int32Array.from({ length: rows }, (_, i) => cells - rows + i),
    counts: count(rows, () => 1),
    dropped: cells - rows,
    bias: null,
    pins: null,
    fit: null,
    values: null,
    members: count(layers * kvHeads * rows, (i) => 4 * (i % rows) + (Math.floor(i / rows) % 4)),
  };
}
