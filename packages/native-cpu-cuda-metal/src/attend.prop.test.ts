/** Turned queries and attention of every backend against core, on random memory. */
import { attendHead, futureQueries, hadamardTransform, type MemoryTarget } from "@kvfold/core";
import {
  arbitraryShapeOptions,
  type Bound,
  boundFor,
  expectWithin,
  fakeQueries,
  fakeTarget,
  fuzz,
  readRows,
} from "@kvfold/testkit";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { HOST_BACKENDS } from "../test/host-backends.js";
import { memoryFromTarget } from "./memory.js";
import { nativeOps } from "./ops.js";

const dtypes = ["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1"] as const;
const cases = fc
  .record({
    options: arbitraryShapeOptions({ maxCells: 40, dtypes }),
    seed: fc.nat(),
    folded: fc.constantFrom(false, true, "composite" as const),
    samples: fc.integer({ min: 1, max: 70 }),
    horizon: fc.integer({ min: 1, max: 700 }),
    biased: fc.boolean(),
  })
  .map(({ options, seed, folded, samples, horizon, biased }) => {
    const memory = fakeTarget(seed, { ...options, folded });
    const bias = biased ? Float32Array.from(memory.positions, (p) => Math.sin(p)) : null;
    return { memory, sample: fakeQueries(seed, memory.shape, samples), horizon, bias };
  });

/** One head of all cells, Hadamard undone. [cells, dim] */
function headOf(memory: MemoryTarget, l: number, kind: "keys" | "values", head: number): Float32Array {
  const layer = memory.shape.layers[l]!;
  const dim = kind === "keys" ? layer.keyDim : layer.valueDim;
  const block = kind === "keys" ? layer.hadamard.key : layer.hadamard.value;
  const rows = readRows(memory, l, kind, memory.slots);
  const own = new Float32Array(memory.shape.cells * dim);
  for (let cell = 0; cell < memory.shape.cells; cell++) {
    const from = (cell * layer.kvHeads + head) * dim;
    own.set(rows.subarray(from, from + dim), cell * dim);
    if (block > 0) hadamardTransform(own, cell * dim, dim, block);
  }
  return own;
}

const largest = (numbers: Float32Array): number => numbers.reduce((max, x) => Math.max(max, Math.abs(x)), 0);
const longest = (rows: Float32Array, width: number): number => {
  let most = 0;
  for (let i = 0; i < rows.length; i += width) {
    most = Math.max(most, Math.hypot(...rows.subarray(i, i + width)));
  }
  return most;
};

describe.each(HOST_BACKENDS)("%s", (backend) => {
  const ops = nativeOps({ backend, threads: 2 });

  it("turns queries as core does", async () => {
    const property = fc.asyncProperty(cases, async ({ memory, sample, horizon }) => {
      const target = memoryFromTarget(memory);
      const last = memory.positions.at(-1)!;
      for (const [l, layer] of memory.shape.layers.entries()) {
        const group = layer.queryHeads / layer.kvHeads;
        for (const maxRows of [group, 17 * group + 1, 2 ** 20]) {
          const got = await ops.turnQueries(target, l, sample, { horizon, maxRows });
          const heads = Array.from({ length: layer.kvHeads }, (_, head) =>
            futureQueries(sample, l, layer, head, { last, horizon, maxRows }),
          );
          const want = Float32Array.from(heads.flatMap((rows) => [...rows]));
          const bound = boundFor("fold", "f32", { members: 1, magnitude: largest(want), rotated: true });
          expectWithin(got, want, bound, "queries");
        }
      }
    });
    await fc.assert(property, fuzz(30));
  });

  it("attends as core does", async () => {
    const property = fc.asyncProperty(cases, async ({ memory, sample, horizon, bias }) => {
      const target = memoryFromTarget(memory);
      const { cells } = memory.shape;
      for (const [l, { kvHeads, keyDim, valueDim }] of memory.shape.layers.entries()) {
        const queries = await ops.turnQueries(target, l, sample, { horizon });
        const got = await ops.attend(target, l, queries, bias, { outputs: true });
        for (let head = 0; head < kvHeads; head++) {
          const part = <T extends Float32Array>(all: T): Float32Array =>
            all.subarray((head * all.length) / kvHeads, ((head + 1) * all.length) / kvHeads);
          const [keys, values] = [headOf(memory, l, "keys", head), headOf(memory, l, "values", head)];
          const own = part(queries);
          const want = attendHead({ dim: keyDim, valueDim, queries: own, keys, values, bias });
          const score = longest(own, keyDim) * longest(keys, keyDim) + 1;
          const sizes = { rows: own.length / keyDim, cells, keyDim, score, free: 1, lambda: 1, length: 1 };
          // a statistic moves, relative, as a weight does; below 2^-100 squares vanish
          const relative = boundFor("fit", "f32", { ...sizes, value: 1 }).output;
          const weight: Bound = { absolute: 2 ** -100, relative, ofBlockMax: 0, block: 1 };
          for (const name of ["maximum", "mean", "rms"] as const) {
            expectWithin(part(got[name]), want[name], weight, name);
          }
          // undoing a Hadamard rotation of the outputs adds that of a row
          const turned = boundFor("fold", "f32", { magnitude: largest(values), hadamard: 64 }).absolute;
          const output = boundFor("fit", "f32", { ...sizes, value: largest(values) }).output + turned;
          const bound: Bound = {
            absolute: output * Math.sqrt(valueDim),
            relative: 0,
            ofBlockMax: 0,
            block: 1,
          };
          expectWithin(part(got.outputs!), want.outputs!, bound, "outputs");
        }
      }
    });
    await fc.assert(property, fuzz(30));
  });

  it("gives the same bits with any number of threads, and with outputs or without", async () => {
    const memory = fakeTarget(3, { cells: 300, layers: 1, kvHeads: 2, keyType: "q8_0", valueType: "f16" });
    const target = memoryFromTarget(memory);
    const queries = await ops.turnQueries(target, 0, fakeQueries(3, memory.shape, 400));
    const first = await ops.attend(target, 0, queries, null);
    expect(first.outputs).toBeNull();
    for (const threads of [1, 3, 4]) {
      const own = nativeOps({ backend, threads });
      const again = await own.attend(target, 0, queries, null, { outputs: threads === 3 });
      for (const name of ["maximum", "mean", "rms"] as const) expect(again[name]).toEqual(first[name]);
    }
  });
});
