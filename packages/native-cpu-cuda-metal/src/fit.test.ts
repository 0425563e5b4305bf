/** Fits in the native executor, beyond what every executor promises: outputs that are known, memory, abort. */
import { type MergePlan, referenceExecutor } from "@kvfold/core";
import { composite, copyTarget, fakeQueries, fakeTarget, firstDifference, fitted } from "@kvfold/testkit";
import { describe, expect, it } from "vitest";
import { createNativeExecutor, type NativeExecutorOptions, type NativePrepareOptions } from "./executor.js";
import { memoryFromTarget } from "./memory.js";
import { nativeOps } from "./ops.js";

const CELLS = 240;
const ROWS = 60;
const memory = fakeTarget(21, { cells: CELLS, layers: 2, kvHeads: 2, keyType: "q8_0", valueType: "q8_0" });
const sample = fakeQueries(22, memory.shape, 256);
const orders = Array.from({ length: 4 }, (_, head) =>
  Array.from({ length: CELLS }, (_, c) => (c * 7 + head) % CELLS),
);
const kept = composite(memory, { rows: ROWS, orders });
const plan: MergePlan = fitted(kept, memory.shape, sample);
const destinations = memory.slots.slice().sort().slice(0, plan.rows);

/** Folds a copy of the memory. */
async function fold(
  options: NativeExecutorOptions = {},
  prepareOptions: Partial<NativePrepareOptions> = {},
  under: MergePlan = plan,
) {
  const own = copyTarget(memory);
  const executor = createNativeExecutor({ threads: 2, ...options });
  const transaction = await executor.prepare(memoryFromTarget(own), under, {
    ...{ destinations, queries: sample, ...prepareOptions },
  });
  await transaction.commit();
  const { fits, heldBytes, workingBytes } = transaction;
  transaction.dispose();
  return { own, fits, heldBytes, workingBytes };
}

describe("a fit", () => {
  it("lowers the error as the reference does", async () => {
    const { fits } = await fold();
    const reference = await referenceExecutor.prepare(copyTarget(memory), plan, {
      destinations,
      queries: sample,
    });
    expect(fits!.length).toBe(4);
    fits!.forEach((fit, i) => {
      const want = reference.fits![i]!;
      expect([fit.layer, fit.head, fit.accepted]).toEqual([want.layer, want.head, want.accepted]);
    });
    expect(fits!.some((fit) => fit.accepted)).toBe(true);
    expect(fits!.at(-1)).toEqual({
      ...{ layer: 1, head: 1, before: Number.NaN, after: Number.NaN, accepted: false },
    });
  });

  it("is null for a plan without one", async () => {
    const { fits, workingBytes, heldBytes } = await fold({}, {}, kept);
    expect(fits).toBeNull();
    expect(workingBytes).toBe(0);
    expect(heldBytes).toBeGreaterThan(0);
  });

  it("takes outputs that attend gave", async () => {
    const { fit } = plan;
    const target = memoryFromTarget(memory);
    const outputs = [];
    for (const layer of [0, 1]) {
      const queries = await nativeOps().turnQueries(target, layer, sample, { ...fit! });
      outputs.push((await nativeOps().attend(target, layer, queries, null, { outputs: true })).outputs);
    }
    const computed = await fold();
    const known = await fold({}, { outputs });
    expect(known.own).toEqual(computed.own);
    expect(known.fits).toEqual(computed.fits);
    expect(known.workingBytes).toBeLessThan(computed.workingBytes);
    for (const wrong of [[null], [outputs[0]!.slice(1), null], [[1, 2], null]]) {
      await expect(fold({}, { outputs: wrong as Float32Array[] })).rejects.toMatchObject({
        code: "KVFOLD_ARGUMENT",
      });
    }
  });

  it("stays under the limit of memory with fewer threads, or is refused", async () => {
    const one = await fold({ threads: 1 });
    const four = await fold({ threads: 4, memoryLimit: one.workingBytes });
    expect(four).toEqual(one);
    await expect(fold({ memoryLimit: one.workingBytes - 1 })).rejects.toMatchObject({
      code: "KVFOLD_PLAN_LIMIT",
    });
  });

  it("uses the bias that the cells have", async () => {
    const bias = Float32Array.from({ length: CELLS }, (_, i) => (i % 5) / 2);
    const executor = createNativeExecutor({ threads: 1 });
    const biased = await executor.prepare(memoryFromTarget({ ...memory, bias }), plan, {
      ...{ destinations, queries: sample },
    });
    expect(biased.fits).not.toEqual((await fold()).fits);
    const short = memoryFromTarget({ ...memory, bias: bias.slice(1) });
    await expect(executor.prepare(short, plan, { destinations, queries: sample })).rejects.toMatchObject({
      code: "KVFOLD_ARGUMENT",
    });
  });

  it("can be stopped in the middle, and has changed nothing", async () => {
    const large = fakeTarget(1, { cells: 2000, layers: 2, kvHeads: 2, keyType: "f16", valueType: "f16" });
    const many = fakeQueries(2, large.shape, 1500);
    const all = Array.from({ length: 4 }, () => Array.from({ length: 2000 }, (_, c) => c));
    const long = fitted(composite(large, { rows: 500, orders: all }), large.shape, many, { readOnly: 2 });
    const before = copyTarget(large);
    const stop = new AbortController();
    setTimeout(() => stop.abort(), 5);
    const work = createNativeExecutor({ backend: "reference" }).prepare(memoryFromTarget(large), long, {
      destinations: large.slots.slice().sort().slice(0, long.rows),
      ...{ queries: many, signal: stop.signal },
    });
    await expect(work).rejects.toMatchObject({ code: "KVFOLD_ABORTED" });
    expect(firstDifference(before, large)).toBeNull();
  });
});
