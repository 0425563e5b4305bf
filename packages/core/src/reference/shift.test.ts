/** Key shifts: what they mean, what they leave alone, and that they can be taken back. */
import { describe, expect, it } from "vitest";
import { rejectedCode, smallCache, smallLayer, snapshot } from "../../test/small-cache.js";
import { rotateHead, rotationBy } from "../rope.js";
import { createReferenceExecutor, referenceExecutor } from "./executor.js";

const prepareShift = referenceExecutor.prepareShift!;
const floats = (bytes: Uint8Array): Float32Array => new Float32Array(bytes.slice().buffer);

describe("a key shift", () => {
  it("turns every head of a cell by its delta", async () => {
    const memory = smallCache({ slots: Uint32Array.of(3, 1, 0, 9, 8, 2, 5, 4) }).memory();
    const before = floats(memory.keys[0]!);
    const deltas = Int32Array.of(0, 5, -7, 100, 0, 1, 2, 3);
    await (await prepareShift(memory, { deltas })).commit();
    const { rope, kvHeads, keyDim } = memory.shape.layers[0]!;
    const want = Float64Array.from(before);
    deltas.forEach((delta, cell) => {
      for (let head = 0; head < kvHeads; head++) {
        const at = (memory.slots[cell]! * kvHeads + head) * keyDim;
        rotateHead(want, at, rope!, rotationBy(rope!, delta));
      }
    });
    expect(floats(memory.keys[0]!)).toEqual(Float32Array.from(want));
  });

  it("takes deltas by head and cell where a layer has its own", async () => {
    const cache = smallCache({ layers: [smallLayer(), smallLayer()] });
    const before = snapshot(cache);
    const memory = cache.memory();
    const own = new Int32Array(16);
    own[8 + 3] = 4; // head 1 of cell 3
    await (await prepareShift(memory, { deltas: new Int32Array(8), layers: [null, own] })).commit();
    expect(memory.keys[0]).toEqual(before[0]);
    const old = floats(before[1]!);
    const changed = [...floats(memory.keys[1]!)].flatMap((x, i) => (x === old[i] ? [] : [i]));
    const { slots } = memory;
    const first = (slots[3]! * 2 + 1) * 32;
    expect(changed.length).toBeGreaterThan(16);
    expect(changed.every((i) => i >= first && i < first + 32)).toBe(true);
  });

  it("leaves values, layers without RoPE and channels that do not turn byte for byte", async () => {
    const partial = smallLayer({ keyType: "q8_0", keyDim: 64 });
    const cache = smallCache({ layers: [smallLayer({ rope: null }), partial] });
    const before = snapshot(cache);
    const memory = cache.memory();
    await (await prepareShift(memory, { deltas: new Int32Array(8).fill(9) })).commit();
    expect(memory.keys[0]).toEqual(before[0]);
    expect(memory.values).toEqual(before.slice(2));
    // two blocks of 34 bytes a head: 32 of 64 channels turn
    const kept = (bytes: Uint8Array): Uint8Array => bytes.filter((_, i) => i % 68 >= 34);
    expect(memory.keys[1]).not.toEqual(before[1]);
    expect(kept(memory.keys[1]!)).toEqual(kept(before[1]!));
  });

  it("can be taken back from every step", async () => {
    let left = Number.POSITIVE_INFINITY;
    const fault = (): void => {
      if (left-- <= 0) throw new Error("injected");
    };
    const executor = createReferenceExecutor({ fault });
    const cache = smallCache({ layers: [smallLayer({ hadamard: { key: 32, value: 0 }, keyType: "q8_0" })] });
    const before = snapshot(cache);
    for (let steps = 0; steps < 8; steps++) {
      left = Number.POSITIVE_INFINITY;
      const transaction = await executor.prepareShift!(cache.memory(), { deltas: new Int32Array(8).fill(3) });
      left = steps;
      await expect(transaction.commit()).rejects.toThrow("injected");
      left = Number.POSITIVE_INFINITY;
      await transaction.rollback();
      expect(snapshot(cache)).toEqual(before);
    }
  });

  it("refuses deltas that do not fit", async () => {
    const memory = smallCache().memory();
    const deltas = new Int32Array(8);
    expect(await rejectedCode(prepareShift(memory, { deltas: new Int32Array(7) }))).toBe("KVFOLD_ARGUMENT");
    expect(await rejectedCode(prepareShift(memory, { deltas, layers: [] }))).toBe("KVFOLD_ARGUMENT");
    const short = [new Int32Array(3)];
    expect(await rejectedCode(prepareShift(memory, { deltas, layers: short }))).toBe("KVFOLD_ARGUMENT");
    const signal = AbortSignal.abort();
    expect(await rejectedCode(prepareShift(memory, { deltas }, { signal }))).toBe("KVFOLD_ABORTED");
  });
});
