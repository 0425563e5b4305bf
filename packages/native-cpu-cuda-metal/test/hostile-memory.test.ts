/** Memory and options that lie: each gives a typed error, and no byte changes. */
import { KvfoldError, type MemoryTarget } from "@kvfold/core";
import { copyTarget, fakeShape, firstDifference } from "@kvfold/testkit";
import { describe, expect, it } from "vitest";
import { createNativeExecutor } from "../src/executor.js";
import { loadAddon } from "../src/load.js";
import { memoryFromTarget, nativeMemoryFromExternal, releaseMemory } from "../src/memory.js";
import { nativeOps } from "../src/ops.js";
import { destinations, executor, memory, plan } from "./hostile-setup.js";

describe("memory", () => {
  const codeOf = (make: () => unknown): string => {
    try {
      make();
    } catch (error) {
      return error instanceof KvfoldError ? error.code : `not a KvfoldError: ${error}`;
    }
    return "no error";
  };
  const { shape, capacity } = memory;

  it.each<[string, unknown]>([
    ["nothing", undefined],
    ["a number", 0xdeadbeef],
    ["an object", {}],
    ["an External of another kind", loadAddon().createFlag()],
  ])("%s is no memory", (_name, external) => {
    expect(codeOf(() => nativeMemoryFromExternal(external, shape, capacity))).toBe("KVFOLD_ARGUMENT");
    expect(codeOf(() => releaseMemory({ external } as never))).toBe("KVFOLD_ARGUMENT");
  });

  it("an External is taken when shape and capacity agree, and only then", () => {
    const { external } = memoryFromTarget(copyTarget(memory)).memory;
    expect(nativeMemoryFromExternal(external, shape, capacity).capacity).toBe(capacity);
    expect(codeOf(() => nativeMemoryFromExternal(external, shape, capacity + 1))).toBe("KVFOLD_ARGUMENT");
    for (const other of [
      { kvHeads: 3 },
      { keyType: "f32" as const },
      { rope: null },
      { rope: "half" as const },
      { ropeBase: 5000 },
      { valueLayout: "transposed" as const },
    ]) {
      const layers = [{ kvHeads: 2 }, { kvHeads: 1 }].map((layer) => ({ ...layer, ...other }));
      const lie = fakeShape({ cells: 12, keyType: "f16", layers });
      expect(
        codeOf(() => nativeMemoryFromExternal(external, lie, capacity)),
        JSON.stringify(other),
      ).toBe("KVFOLD_ARGUMENT");
    }
  });

  const spoil = (change: Partial<MemoryTarget>): string =>
    codeOf(() => memoryFromTarget({ ...memory, ...change }));
  const layers = (change: object): MemoryTarget["shape"] =>
    ({ ...shape, layers: shape.layers.map((layer) => ({ ...layer, ...change })) }) as MemoryTarget["shape"];
  const rope = shape.layers[0]!.rope!;

  it.each<[string, string, string]>([
    [
      "keys one byte short",
      spoil({ keys: [memory.keys[0]!.subarray(1), memory.keys[1]!] }),
      "KVFOLD_ARGUMENT",
    ],
    [
      "keys of another class",
      spoil({ keys: memory.keys.map((k) => new Float32Array(k.length)) as never }),
      "KVFOLD_ARGUMENT",
    ],
    ["keys of one layer only", spoil({ keys: [memory.keys[0]!] }), "KVFOLD_ARGUMENT"],
    [
      "one buffer for two layers",
      spoil({ values: [memory.values[0]!, memory.values[0]!] }),
      "KVFOLD_ARGUMENT",
    ],
    ["keys and values overlap", spoil({ values: [memory.keys[0]!, memory.values[1]!] }), "KVFOLD_ARGUMENT"],
    [
      "keys at an odd address",
      spoil({ keys: memory.keys.map((k) => new Uint8Array(k.length + 2).subarray(1, k.length + 1)) }),
      "KVFOLD_ARGUMENT",
    ],
    ["a capacity of 2^31", spoil({ capacity: 2 ** 31 }), "KVFOLD_ARGUMENT"],
    ["a capacity of 0", spoil({ capacity: 0 }), "KVFOLD_ARGUMENT"],
    ["a capacity of NaN", spoil({ capacity: Number.NaN }), "KVFOLD_ARGUMENT"],
    ["no layers", spoil({ shape: { ...shape, layers: [] }, keys: [], values: [] }), "KVFOLD_ARGUMENT"],
    [
      "sizes whose product wraps",
      spoil({ shape: layers({ kvHeads: 4096, keyDim: 8192 }), capacity: 2 ** 27 }),
      "KVFOLD_ARGUMENT",
    ],
    ["2^31 heads", spoil({ shape: layers({ kvHeads: 2 ** 31 }) }), "KVFOLD_ARGUMENT"],
    ["an unknown type", spoil({ shape: layers({ keyType: "q2_k" }) }), "KVFOLD_UNSUPPORTED"],
    [
      "blocks that do not divide a head",
      spoil({ shape: layers({ keyType: "q8_0", keyDim: 48 }) }),
      "KVFOLD_UNSUPPORTED",
    ],
    [
      "transposed blocks",
      spoil({ shape: layers({ valueType: "q8_0", valueLayout: "transposed" }) }),
      "KVFOLD_UNSUPPORTED",
    ],
    [
      "an odd number of rotated channels",
      spoil({ shape: layers({ rope: { ...rope, dims: 31 } }) }),
      "KVFOLD_ARGUMENT",
    ],
    [
      "more rotated channels than there are",
      spoil({ shape: layers({ rope: { ...rope, dims: 64, frequencies: new Float64Array(32) } }) }),
      "KVFOLD_ARGUMENT",
    ],
    [
      "too few frequencies",
      spoil({ shape: layers({ rope: { ...rope, frequencies: new Float64Array(3) } }) }),
      "KVFOLD_ARGUMENT",
    ],
    [
      "a frequency of NaN",
      spoil({ shape: layers({ rope: { ...rope, frequencies: new Float64Array(16).fill(Number.NaN) } }) }),
      "KVFOLD_ARGUMENT",
    ],
    [
      "a Hadamard block of 3",
      spoil({ shape: layers({ hadamard: { key: 3, value: 0 } }) }),
      "KVFOLD_ARGUMENT",
    ],
  ])("%s", (_name, code, expected) => expect(code).toBe(expected));

  it("supports() says why not as a sentence", () => {
    for (const change of [
      { keyType: "q2_k" },
      { keyType: "q8_0", keyDim: 48 },
      { rope: { ...rope, dims: 31 } },
    ]) {
      expect(executor.supports(layers(change))).toMatch(/^layer 0\b.* \S+/);
    }
    expect(executor.supports(shape)).toBe(true);
  });

  it("memory that was released is refused at every step", async () => {
    const own = copyTarget(memory);
    const target = memoryFromTarget(own);
    const transaction = await executor.prepare(target, plan, { destinations });
    releaseMemory(target.memory);
    await expect(transaction.commit()).rejects.toMatchObject({ code: "KVFOLD_DISPOSED" });
    await expect(executor.prepare(target, plan, { destinations })).rejects.toMatchObject({
      code: "KVFOLD_DISPOSED",
    });
    await expect(nativeOps().keyStats(target, 0)).rejects.toMatchObject({ code: "KVFOLD_DISPOSED" });
    transaction.dispose();
    expect(firstDifference(memory, own)).toBeNull();
  });

  it("memory whose buffer was transferred away is refused at every step", async () => {
    const own = copyTarget(memory);
    const target = memoryFromTarget(own);
    const transaction = await executor.prepare(target, plan, { destinations });
    const { buffer } = own.keys[1]!;
    structuredClone(buffer, { transfer: [buffer as ArrayBuffer] });
    await expect(transaction.commit()).rejects.toMatchObject({ code: "KVFOLD_ARGUMENT" });
    await expect(executor.prepare(target, plan, { destinations })).rejects.toMatchObject({
      code: "KVFOLD_ARGUMENT",
    });
    transaction.dispose();
  });
});

describe("options", () => {
  it.each([0, -1, 1.5, Number.NaN, 257, Number.POSITIVE_INFINITY])("threads: %s", (threads) => {
    expect(() => createNativeExecutor({ threads })).toThrow(KvfoldError);
    expect(() => nativeOps({ threads })).toThrow(KvfoldError);
  });
  it("a backend that does not exist", () => {
    expect(() => createNativeExecutor({ backend: "cuda" as "cpu" })).toThrow(
      /no backend "cuda".*cpu, reference/,
    );
  });
  it.each([-1, 2, 0.5, Number.NaN])("layer %s", async (layer) => {
    const target = memoryFromTarget(memory);
    await expect(nativeOps().keyStats(target, layer)).rejects.toMatchObject({ code: "KVFOLD_ARGUMENT" });
    await expect(nativeOps().values(target, layer)).rejects.toMatchObject({ code: "KVFOLD_ARGUMENT" });
  });
});
