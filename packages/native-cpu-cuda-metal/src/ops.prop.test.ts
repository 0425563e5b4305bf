/** Rows and statistics of every backend against core, on random memory. */
import {
  type CacheView,
  hadamardTransform,
  type MemoryTarget,
  referenceOps,
  rotateHead,
  rotationBy,
} from "@kvfold/core";
import {
  arbitraryShapeOptions,
  BOUNDS,
  boundFor,
  expectWithin,
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
const memories = fc
  .record({
    options: arbitraryShapeOptions({ maxCells: 40, dtypes }),
    seed: fc.nat(),
    folded: fc.constantFrom(false, true, "composite" as const),
    positions: fc.constantFrom("dense" as const, "gaps" as const),
  })
  .map(({ options, seed, folded, positions }) => fakeTarget(seed, { ...options, folded, positions }));

/** [cells, heads * dim] as [heads, cells, dim]. */
function byHead(rows: Float32Array, heads: number, cells: number): Float32Array {
  const dim = rows.length / heads / cells;
  const out = new Float32Array(rows.length);
  for (let head = 0; head < heads; head++) {
    for (let cell = 0; cell < cells; cell++) {
      const from = (cell * heads + head) * dim;
      out.set(rows.subarray(from, from + dim), (head * cells + cell) * dim);
    }
  }
  return out;
}

/** Stored rows of a layer, computed here in double: Hadamard undone, rotation undone where asked for. */
function expectedRows(
  memory: MemoryTarget,
  l: number,
  kind: "keys" | "values",
  unrotate: boolean,
): Float64Array {
  const layer = memory.shape.layers[l]!;
  const { cells } = memory.shape;
  const dim = kind === "keys" ? layer.keyDim : layer.valueDim;
  const rows = Float64Array.from(byHead(readRows(memory, l, kind, memory.slots), layer.kvHeads, cells));
  const block = kind === "keys" ? layer.hadamard.key : layer.hadamard.value;
  for (let i = 0; i < layer.kvHeads * cells; i++) {
    if (block > 0) hadamardTransform(rows, i * dim, dim, block);
    const source = memory.sources[l]?.[i] ?? memory.positions[i % cells]!;
    if (unrotate && layer.rope) rotateHead(rows, i * dim, layer.rope, rotationBy(layer.rope, -source));
  }
  return rows;
}

const largest = (rows: ArrayLike<number>): number =>
  Array.from(rows).reduce((max, x) => Math.max(max, Math.abs(x)), 0);

describe.each(HOST_BACKENDS)("%s", (backend) => {
  const ops = nativeOps({ backend, threads: 2 });

  it("hands out stored rows as they are", async () => {
    const property = fc.asyncProperty(memories, async (memory) => {
      const target = memoryFromTarget(memory);
      for (const [l, layer] of memory.shape.layers.entries()) {
        for (const kind of ["keys", "values"] as const) {
          const rows = readRows(memory, l, kind, memory.slots);
          const got = await ops.storedRows(target, l, kind);
          expect(got).toEqual(byHead(rows, layer.kvHeads, memory.shape.cells));
        }
      }
    });
    await fc.assert(property, fuzz(60));
  });

  it("undoes Hadamard and RoPE", async () => {
    const property = fc.asyncProperty(memories, async (memory) => {
      const target = memoryFromTarget(memory);
      for (const [l, layer] of memory.shape.layers.entries()) {
        const hadamard = layer.hadamard.key;
        for (const frame of ["stored", "unrotated"] as const) {
          const want = expectedRows(memory, l, "keys", frame === "unrotated");
          const bound = boundFor("fold", "f32", {
            members: 1,
            magnitude: largest(want),
            rotated: true,
            hadamard,
          });
          expectWithin(await ops.keys(target, l, frame), want, bound, `keys, ${frame}`);
        }
        const want = expectedRows(memory, l, "values", false);
        const bound = boundFor("fold", "f32", {
          members: 1,
          magnitude: largest(want),
          hadamard: layer.hadamard.value,
        });
        expectWithin(await ops.values(target, l), want, bound, "values");
      }
    });
    await fc.assert(property, fuzz(60));
  });

  it("computes key statistics as the reference does", async () => {
    const property = fc.asyncProperty(memories, async (memory) => {
      const target = memoryFromTarget(memory);
      const view = {
        shape: memory.shape,
        keys: async (l: number) => Float32Array.from(expectedRows(memory, l, "keys", true)),
      } as unknown as CacheView;
      for (const [l, { keyDim }] of memory.shape.layers.entries()) {
        const want = await referenceOps.keyStats(view, l);
        const got = await ops.keyStats(target, l);
        const bounds = BOUNDS.keyStats({ keyDim, cells: memory.shape.cells });
        expectWithin(got.norm, want.norm, bounds.norm, "norm");
        expectWithin(got.meanCosine, want.meanCosine, bounds.meanCosine, "mean cosine");
      }
    });
    await fc.assert(property, fuzz(60));
  });

  it("a head of zero keys has norm 0 and cosine 0", async () => {
    const memory = fakeTarget(1, { cells: 9, layers: 1 });
    memory.keys[0]!.fill(0);
    const stats = await ops.keyStats(memoryFromTarget(memory), 0);
    expect(new Set([...stats.norm, ...stats.meanCosine])).toEqual(new Set([0]));
  });
});
