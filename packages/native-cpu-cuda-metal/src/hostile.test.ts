/** Arguments that lie: each gives a typed error, and no byte changes. */
import { KvfoldError, type MemoryTarget, type MergePlan } from "@kvfold/core";
import {
  checkRefusal,
  composite,
  copyTarget,
  fakeShape,
  fakeTarget,
  firstDifference,
  shared,
} from "@kvfold/testkit";
import { describe, expect, it } from "vitest";
import { createNativeExecutor } from "./executor.js";
import { loadAddon } from "./load.js";
import { memoryFromTarget, type NativeTarget, nativeMemoryFromExternal, releaseMemory } from "./memory.js";
import { nativeOps } from "./ops.js";

const memory = fakeTarget(5, { cells: 12, keyType: "f16", layers: [{ kvHeads: 2 }, { kvHeads: 1 }] });
const plan = shared(memory, { group: [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5] });
const destinations = memory.slots.slice().sort().slice(0, plan.rows);
const executor = createNativeExecutor({ threads: 2 });
const under = { executor, adapt: (own: MemoryTarget) => ({ target: memoryFromTarget(own) }) };

const refused = (spoiled: unknown, code: string): Promise<void> =>
  checkRefusal(under, memory, spoiled as MergePlan, { destinations }, code);

const spoiled = (change: (target: NativeTarget) => Partial<Record<keyof NativeTarget, unknown>>) => ({
  executor,
  adapt: (own: MemoryTarget) => {
    const target = memoryFromTarget(own);
    return { target: { ...target, ...change(target) } as NativeTarget };
  },
});

const put = <T extends Uint32Array | Float32Array | Int32Array>(
  array: T,
  index: number,
  value: number,
): T => {
  const copy = array.slice() as T;
  copy[index] = value;
  return copy;
};

describe("plans", () => {
  const weights = (value: number) => ({ ...plan.keyWeights, data: put(plan.keyWeights.data, 3, value) });
  it.each<[string, unknown, string]>([
    ["null", null, "KVFOLD_PLAN_SHAPE"],
    ["another version", { ...plan, version: 2 }, "KVFOLD_PLAN_SHAPE"],
    ["another layout", { ...plan, layout: "spiral" }, "KVFOLD_PLAN_SHAPE"],
    ["another key frame", { ...plan, keyFrame: "moon" }, "KVFOLD_PLAN_SHAPE"],
    ["no weights", { ...plan, keyWeights: undefined }, "KVFOLD_PLAN_SHAPE"],
    [
      "weights of another scope",
      { ...plan, keyWeights: { ...plan.keyWeights, scope: "cell" } },
      "KVFOLD_PLAN_SHAPE",
    ],
    ["members of another class", { ...plan, members: Int32Array.from(plan.members) }, "KVFOLD_PLAN_SHAPE"],
    ["an array for members", { ...plan, members: [...plan.members] }, "KVFOLD_PLAN_SHAPE"],
    [
      "no rows",
      { ...plan, rows: 0, positions: new Int32Array(0), counts: new Uint32Array(0) },
      "KVFOLD_PLAN_SHAPE",
    ],
    ["rows of 2^32", { ...plan, rows: 2 ** 32 }, "KVFOLD_PLAN_SHAPE"],
    ["half a row", { ...plan, rows: 2.5 }, "KVFOLD_PLAN_SHAPE"],
    ["offsets short", { ...plan, offsets: plan.offsets.slice(1) }, "KVFOLD_PLAN_SHAPE"],
    ["offsets past the members", { ...plan, offsets: put(plan.offsets, 3, 0xffffffff) }, "KVFOLD_PLAN_SHAPE"],
    [
      "weights of scope head, too short",
      { ...plan, valueWeights: { ...plan.valueWeights, scope: "head" } },
      "KVFOLD_PLAN_SHAPE",
    ],
    ["NaN dropped", { ...plan, dropped: Number.NaN }, "KVFOLD_PLAN_SHAPE"],
    ["NaN weight", { ...plan, keyWeights: weights(Number.NaN) }, "KVFOLD_PLAN_WEIGHT"],
    ["infinite weight", { ...plan, keyWeights: weights(Number.NEGATIVE_INFINITY) }, "KVFOLD_PLAN_WEIGHT"],
    ["a member out of range", { ...plan, members: put(plan.members, 0, 12) }, "KVFOLD_PLAN_MEMBER_RANGE"],
    ["a member twice", { ...plan, members: put(plan.members, 0, 11) }, "KVFOLD_PLAN_NOT_DISJOINT"],
    ["positions fall", { ...plan, positions: put(plan.positions, 0, 1000) }, "KVFOLD_PLAN_ORDER"],
    ["a negative position", { ...plan, positions: put(plan.positions, 0, -1) }, "KVFOLD_PLAN_ORDER"],
    ["no position left", { ...plan, positions: put(plan.positions, 5, 0x7fffffff) }, "KVFOLD_PLAN_ORDER"],
    ["a row of no token", { ...plan, counts: put(plan.counts, 2, 0) }, "KVFOLD_PLAN_COUNTS"],
    ["fewer tokens than cells", { ...plan, counts: put(plan.counts, 2, 1) }, "KVFOLD_PLAN_COUNTS"],
    ["bias of 16", { ...plan, bias: put(new Float32Array(6), 1, -16) }, "KVFOLD_PLAN_BIAS"],
    ["bias of NaN", { ...plan, bias: put(new Float32Array(6), 1, Number.NaN) }, "KVFOLD_PLAN_BIAS"],
    ["an unknown pin level", { ...plan, pins: new Uint8Array(12).fill(4, 3, 4) }, "KVFOLD_PLAN_PIN"],
    ["a merged cell pinned exactly", { ...plan, pins: new Uint8Array(12).fill(3, 3, 4) }, "KVFOLD_PLAN_PIN"],
    [
      "a merged cell with its key pinned",
      { ...plan, pins: new Uint8Array(12).fill(2, 3, 4) },
      "KVFOLD_PLAN_PIN",
    ],
  ])("%s", (_name, broken, code) => refused(broken, code));

  it("a key pin that a re-rotation breaks", () => {
    const turned = shared(memory, { group: [...Array(12).keys()], squeeze: 2 });
    return refused({ ...turned, pins: new Uint8Array(12).fill(2, 11) }, "KVFOLD_PLAN_PIN");
  });

  describe("composite", () => {
    const orders = Array.from({ length: 4 }, (_, head) =>
      Array.from({ length: 12 }, (_, c) => (c * 5 + head) % 12),
    );
    const good = composite(memory, { rows: 4, orders });
    it.each<[string, unknown, string]>([
      ["of more layers", { ...good, layers: 3 }, "KVFOLD_PLAN_SHAPE"],
      ["of 2^32 heads", { ...good, kvHeads: 2 ** 32 }, "KVFOLD_PLAN_SHAPE"],
      ["sizes whose product wraps", { ...good, layers: 2 ** 31, kvHeads: 2 ** 31 }, "KVFOLD_PLAN_SHAPE"],
      ["members short", { ...good, members: good.members.slice(4) }, "KVFOLD_PLAN_SHAPE"],
      [
        "a member out of range",
        { ...good, members: put(good.members, 9, 0xffffffff) },
        "KVFOLD_PLAN_MEMBER_RANGE",
      ],
      [
        "a cell twice in a head",
        { ...good, members: put(good.members, 5, good.members[4]!) },
        "KVFOLD_PLAN_NOT_DISJOINT",
      ],
      [
        "heads that a layer lacks do not repeat head 0",
        {
          ...good,
          members: put(good.members, 12, [0, 1, 2, 3, 4].find((c) => !good.members.slice(8).includes(c))!),
        },
        "KVFOLD_PLAN_SHAPE",
      ],
      ["a pinned cell missing in a head", { ...good, pins: new Uint8Array(12).fill(1) }, "KVFOLD_PLAN_PIN"],
    ])("%s", (_name, broken, code) => refused(broken, code));
  });
});

describe("targets", () => {
  it.each<[string, (target: NativeTarget) => Partial<Record<keyof NativeTarget, unknown>>]>([
    ["a slot out of range", ({ slots }) => ({ slots: put(slots, 2, 0xffffffff) })],
    ["a slot twice", ({ slots }) => ({ slots: put(slots, 2, slots[3]!) })],
    ["slots of another class", ({ slots }) => ({ slots: [...slots] })],
    ["a slot missing", ({ slots }) => ({ slots: slots.slice(1) })],
    ["positions missing", () => ({ positions: new Int32Array(0) })],
    ["sources for one layer only", () => ({ sources: [null] })],
    ["a source map too short", () => ({ sources: [null, new Int32Array(11)] })],
    ["sources undefined", () => ({ sources: undefined })],
    ["a shape of another cache", () => ({ shape: fakeShape({ cells: 12, layers: 2, kvHeads: 3 }) })],
  ])("%s", (_name, change) =>
    checkRefusal(spoiled(change), memory, plan, { destinations }, "KVFOLD_ARGUMENT"),
  );

  it("slots whose buffer was transferred away", () => {
    const gone = spoiled(({ slots }) => {
      const own = slots.slice();
      structuredClone(own.buffer, { transfer: [own.buffer] });
      return { slots: own };
    });
    return checkRefusal(gone, memory, plan, { destinations }, "KVFOLD_ARGUMENT");
  });

  it.each<[string, unknown]>([
    ["numbers", [0, 1, 2, 3, 4, 5]],
    ["nothing", undefined],
  ])("destinations that are %s", (_name, wrong) =>
    checkRefusal(under, memory, plan, { destinations: wrong as Uint32Array }, "KVFOLD_ARGUMENT"),
  );
});

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
