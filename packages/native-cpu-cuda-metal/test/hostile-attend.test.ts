/** Bad queries, samples and limits are refused with a code, before anything is allocated. */
import type { QueryLayer, QuerySample } from "@kvfold/core";
import { fakeQueries, fakeTarget } from "@kvfold/testkit";
import { describe, expect, it } from "vitest";
import { memoryFromTarget, releaseMemory } from "../src/memory.js";
import { nativeOps } from "../src/ops.js";

const memory = fakeTarget(5, { cells: 12, keyType: "f16", layers: [{ kvHeads: 2 }, { kvHeads: 1 }] });
const target = memoryFromTarget(memory);
const sample = fakeQueries(9, memory.shape, 6);
const { kvHeads, keyDim } = memory.shape.layers[0]!;
const queries = new Float32Array(kvHeads * 3 * keyDim).fill(0.1);
const ops = nativeOps({ threads: 2 });

const code = (name: string) => expect.objectContaining({ name: "KvfoldError", code: name });
const inLayer = (change: Partial<Record<keyof QueryLayer, unknown>>): QuerySample =>
  ({ ...sample, layers: [{ ...sample.layers[0], ...change }, sample.layers[1]] }) as QuerySample;

describe("turnQueries refuses", () => {
  it.each<[string, unknown]>([
    ["no sample", null],
    ["a number", 3],
    ["no positions", { ...sample, positions: undefined }],
    ["no samples", { ...sample, positions: new Int32Array(0), layers: [null, null] }],
    ["a layer too few", { ...sample, layers: [sample.layers[0]] }],
    ["a layer without queries", { ...sample, layers: [null, null] }],
    ["no heads", inLayer({ heads: 0 })],
    ["heads that do not belong to KV heads", inLayer({ heads: 3 })],
    ["2^32 heads", inLayer({ heads: 2 ** 32 })],
    ["half a head", inLayer({ heads: 0.5 })],
    ["a scale that is not finite", inLayer({ scale: Number.NaN })],
    ["a scale of 1e9", inLayer({ scale: 1e9 })],
    ["rows of another class", inLayer({ rows: new Float32Array(6) })],
    ["a row short", inLayer({ rows: sample.layers[0]!.rows.slice(1) })],
  ])("%s", async (_name, wrong) => {
    await expect(ops.turnQueries(target, 0, wrong as QuerySample)).rejects.toThrow(code("KVFOLD_ARGUMENT"));
  });

  it.each([
    { horizon: 0 },
    { horizon: 2 ** 32 },
    { horizon: 1.5 },
    { maxRows: 0 },
    { maxRows: -1 },
    { maxRows: Number.NaN },
  ])("%o", async (options) => {
    await expect(ops.turnQueries(target, 0, sample, options)).rejects.toThrow(code("KVFOLD_ARGUMENT"));
  });
});

describe("attend refuses", () => {
  const spoiled = (value: number): Float32Array => queries.with(7, value);
  it.each<[string, unknown, unknown]>([
    ["no queries", undefined, null],
    ["queries of another class", [...queries], null],
    ["an empty array", new Float32Array(0), null],
    ["less than a row for each head", queries.slice(0, keyDim), null],
    ["part of a row", queries.slice(1), null],
    ["NaN in a query", spoiled(Number.NaN), null],
    ["infinity in a query", spoiled(Number.POSITIVE_INFINITY), null],
    ["scores that overflow", spoiled(3e38), null],
    ["bias that is short", queries, new Float32Array(11)],
    ["bias of another class", queries, new Float64Array(12)],
    ["NaN in the bias", queries, new Float32Array(12).fill(Number.NaN)],
  ])("%s", async (_name, wrong, bias) => {
    const work = ops.attend(target, 0, wrong as Float32Array, bias as Float32Array | null);
    await expect(work).rejects.toThrow(code("KVFOLD_ARGUMENT"));
  });

  it.each([-1, 2, 0.5, Number.NaN])("layer %d", async (layer) => {
    await expect(ops.attend(target, layer, queries, null)).rejects.toThrow(code("KVFOLD_ARGUMENT"));
  });

  it("keys that are not finite", async () => {
    const broken = fakeTarget(5, { cells: 12, layers: 1, keyType: "f32" });
    new Float32Array(broken.keys[0]!.buffer, broken.keys[0]!.byteOffset).fill(Number.NaN);
    const { kvHeads: heads, keyDim: dim } = broken.shape.layers[0]!;
    const rows = new Float32Array(heads * dim).fill(1);
    await expect(ops.attend(memoryFromTarget(broken), 0, rows, null)).rejects.toThrow(
      code("KVFOLD_ARGUMENT"),
    );
  });

  it("memory that was released", async () => {
    const gone = memoryFromTarget(fakeTarget(5, { cells: 12, layers: 1 }));
    releaseMemory(gone.memory);
    await expect(ops.attend(gone, 0, queries, null)).rejects.toThrow(code("KVFOLD_DISPOSED"));
  });

  it("a signal that has fired", async () => {
    const options = { signal: AbortSignal.abort() };
    await expect(ops.attend(target, 0, queries, null, options)).rejects.toThrow(code("KVFOLD_ABORTED"));
    await expect(ops.turnQueries(target, 0, sample, options)).rejects.toThrow(code("KVFOLD_ABORTED"));
  });
});

describe("the limit of memory", () => {
  it("lowers threads first, then refuses", async () => {
    const one = await nativeOps({ threads: 1 }).attend(target, 0, queries, null, { outputs: true });
    expect(one.workingBytes).toBeGreaterThan(0);
    const four = await nativeOps({ threads: 4 }).attend(target, 0, queries, null, { outputs: true });
    expect(four.workingBytes).toBeGreaterThan(one.workingBytes);
    const exact = nativeOps({ threads: 4, memoryLimit: one.workingBytes });
    expect(await exact.attend(target, 0, queries, null, { outputs: true })).toEqual(one);
    const tight = nativeOps({ threads: 4, memoryLimit: one.workingBytes - 1 });
    await expect(tight.attend(target, 0, queries, null, { outputs: true })).rejects.toThrow(
      code("KVFOLD_PLAN_LIMIT"),
    );
  });

  it.each([0, -1, 1.5, Number.NaN, "1"])("is not %s", async (memoryLimit) => {
    const wrong = nativeOps({ threads: 1, memoryLimit: memoryLimit as number });
    await expect(wrong.attend(target, 0, queries, null)).rejects.toThrow(code("KVFOLD_ARGUMENT"));
  });
});
