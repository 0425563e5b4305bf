/** Key shifts of every backend against core, on random memory; all or nothing; refusals. */
import { isKvfoldError, type KeyShift, type MemoryTarget, referenceExecutor } from "@kvfold/core";
import {
  arbitraryShapeOptions,
  boundFor,
  brokenGuards,
  copyTarget,
  expectWithin,
  fakeTarget,
  firstDifference,
  fuzz,
  readRows,
} from "@kvfold/testkit";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createNativeExecutor, type FaultWalk } from "./executor.js";
import { memoryFromTarget } from "./memory.js";

const dtypes = ["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1"] as const;
const shifts = fc
  .record({
    options: arbitraryShapeOptions({ maxCells: 40, dtypes }),
    seed: fc.nat(),
    numbers: fc.array(fc.integer({ min: -3000, max: 3000 }), { minLength: 7, maxLength: 7 }),
    ofLayers: fc.boolean(),
  })
  .map(({ options, seed, numbers, ofLayers }) => {
    const memory = fakeTarget(seed, options);
    const { cells, layers } = memory.shape;
    const deltas = (length: number): Int32Array =>
      Int32Array.from({ length }, (_, i) => (i % 5 === 4 ? 0 : numbers[i % numbers.length]!));
    const own = layers.map(({ kvHeads }, l) => (ofLayers && l % 2 === 0 ? deltas(kvHeads * cells) : null));
    return { memory, shift: { deltas: deltas(cells), layers: own } satisfies KeyShift };
  });

const largest = (rows: ArrayLike<number>): number =>
  Array.from(rows).reduce((max, x) => Math.max(max, Math.abs(x)), 0);

const codeOf = async (promise: Promise<unknown>): Promise<string> => {
  try {
    await promise;
  } catch (error) {
    return isKvfoldError(error) ? error.code : `not a KvfoldError: ${error}`;
  }
  return "no error";
};

async function shifted(memory: MemoryTarget, shift: KeyShift): Promise<MemoryTarget> {
  const copy = copyTarget(memory);
  const transaction = await referenceExecutor.prepareShift!(copy, shift);
  await transaction.commit();
  transaction.dispose();
  return copy;
}

describe.each(["cpu", "reference"] as const)("%s", (backend) => {
  const faults: FaultWalk = { prepareAt: null, commitAt: null, preparePoints: 0, commitPoints: 0 };
  const executor = createNativeExecutor({ backend, threads: 2 });

  it("turns keys as core does, and nothing else", async () => {
    const property = fc.asyncProperty(shifts, async ({ memory, shift }) => {
      const before = copyTarget(memory);
      const want = await shifted(memory, shift);
      const transaction = await executor.prepareShift(memoryFromTarget(memory), shift);
      expect(firstDifference(before, memory), "prepared only").toBeNull();
      await transaction.commit();
      expect(brokenGuards(memory)).toEqual([]);
      memory.shape.layers.forEach((layer, l) => {
        expect(Buffer.compare(memory.values[l]!, before.values[l]!)).toBe(0);
        const [got, rows] = [memory, want].map((one) => readRows(one, l, "keys", memory.slots));
        const magnitude = largest(rows!);
        const { key: hadamard } = layer.hadamard;
        const options = { members: 1, magnitude, rotated: true, hadamard, against: "stored" } as const;
        expectWithin(got!, rows!, boundFor("fold", layer.keyType, options), `layer ${l}`);
      });
      await transaction.rollback();
      transaction.dispose();
      expect(firstDifference(before, memory), "rolled back").toBeNull();
    });
    await fc.assert(property, fuzz(60));
  });

  it("a fault at any point can be taken back", async () => {
    const memory = fakeTarget(5, { cells: 30, layers: 2, keyType: "q8_0" });
    const before = copyTarget(memory);
    const shift = { deltas: Int32Array.from({ length: 30 }, (_, i) => -i) };
    const walked = createNativeExecutor({ backend, threads: 2, faults });
    const target = memoryFromTarget(memory);
    const whole = await walked.prepareShift(target, shift);
    await whole.commit();
    expect(firstDifference(before, memory)).not.toBeNull();
    await whole.rollback();
    for (let point = 0, points = faults.commitPoints; point < points; point++) {
      faults.commitAt = point;
      const transaction = await walked.prepareShift(target, shift);
      expect(await codeOf(transaction.commit())).toBe("KVFOLD_FAULT");
      await transaction.rollback();
      expect(firstDifference(before, memory), `point ${point}`).toBeNull();
      transaction.dispose();
    }
    faults.commitAt = null;
    for (let point = 0, points = faults.preparePoints; point < points; point++) {
      faults.prepareAt = point;
      expect(await codeOf(walked.prepareShift(target, shift))).toBe("KVFOLD_FAULT");
    }
    faults.prepareAt = null;
    expect(firstDifference(before, memory)).toBeNull();
  });

  it("refuses deltas that do not fit, and stops when aborted", async () => {
    const memory = fakeTarget(5, { cells: 9, layers: 1 });
    const before = copyTarget(memory);
    const target = memoryFromTarget(memory);
    const deltas = new Int32Array(9).fill(1);
    const codes = await Promise.all([
      codeOf(executor.prepareShift(target, { deltas: new Int32Array(8) })),
      codeOf(executor.prepareShift(target, { deltas: new Float32Array(9) as unknown as Int32Array })),
      codeOf(executor.prepareShift(target, { deltas, layers: [] })),
      codeOf(executor.prepareShift(target, { deltas, layers: [new Int32Array(1)] })),
      codeOf(executor.prepareShift(target, { deltas }, { signal: AbortSignal.abort() })),
    ]);
    expect(codes).toEqual([...Array(4).fill("KVFOLD_ARGUMENT"), "KVFOLD_ABORTED"]);
    expect(firstDifference(before, memory)).toBeNull();
  });
});
