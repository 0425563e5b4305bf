/** Fake memory holds what was asked for, readable through core's own codec, and its guards see a stray write. */
import { decodeRow, hadamardTransform, rotateHead, rotationBy } from "@kvfold/core";
import { describe, expect, it } from "vitest";
import { boundFor } from "./bounds.js";
import { allowances } from "./expect-within.js";
import { brokenGuards, copyTarget, type FakeTarget, fakeTarget } from "./fake-target.js";
import { firstDifference, readRows, rowBytesOf } from "./read-rows.js";

/** Head 0 of a key of layer 0, rotation and Hadamard undone. */
function plainKey(target: FakeTarget, cell: number): Float32Array {
  const layer = target.shape.layers[0]!;
  const key = readRows(target, 0, "keys", [target.slots[cell]!]).slice(0, layer.keyDim);
  if (layer.hadamard.key) hadamardTransform(key, 0, layer.keyDim, layer.hadamard.key);
  const position = target.sources[0]?.[cell] ?? target.positions[cell]!;
  if (layer.rope) rotateHead(key, 0, layer.rope, rotationBy(layer.rope, -position));
  return key;
}

const cosine = (a: Float32Array, b: Float32Array): number => {
  const dot = (x: Float32Array, y: Float32Array): number =>
    x.reduce((sum, value, i) => sum + value * y[i]!, 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
};

describe("fakeTarget", () => {
  it("is the same for the same seed, another for another", () => {
    const options = { cells: 9, keyType: "q8_0", folded: true } as const;
    expect(fakeTarget(4, options)).toEqual(fakeTarget(4, options));
    expect(fakeTarget(5, options).keys[0]).not.toEqual(fakeTarget(4, options).keys[0]);
  });

  it.each([
    { keyType: "f32" },
    { keyType: "f16", rope: "half" },
    { keyType: "f16", folded: true, positions: "gaps" },
    { keyType: "q8_0", keyDim: 64, hadamard: { key: 64, value: 64 } },
  ] as const)("plants duplicates at their own positions: %o", (options) => {
    const target = fakeTarget(1, { cells: 12, duplicates: [[2, 9]], ...options });
    const first = plainKey(target, 2);
    const second = plainKey(target, 9);
    // undoing RoPE and Hadamard keeps lengths, so the lengths of the errors are what the bound allows for both rows
    const length = (row: ArrayLike<number>): number => Math.hypot(...Array.from(row));
    const row = readRows(target, 0, "keys", [target.slots[9]!]).slice(0, first.length);
    const bound = boundFor("fold", options.keyType, {
      members: 1,
      rotated: true,
      hadamard: 64,
      against: "stored",
    });
    expect(length(first.map((x, i) => x - second[i]!))).toBeLessThanOrEqual(length(allowances(row, bound)));
    expect(cosine(plainKey(target, 3), first)).toBeLessThan(0.99);
  });

  it("plants needles that point away and surprise", () => {
    const target = fakeTarget(2, { cells: 16, needles: [5] });
    for (let cell = 0; cell < 16; cell++) {
      if (cell !== 5) expect(cosine(plainKey(target, cell), plainKey(target, 5))).toBeLessThan(0);
    }
    expect(target.tokenLogProbs.indexOf(Math.min(...target.tokenLogProbs))).toBe(5);
  });

  it("leaves holes that read as NaN and distinct slots inside the capacity", () => {
    const target = fakeTarget(3, { cells: 8, holes: 5, keyType: "f16" });
    expect(target.capacity).toBe(13);
    expect(new Set(target.slots).size).toBe(8);
    const hole = Array.from({ length: 13 }, (_, slot) => slot).find((slot) => !target.slots.includes(slot))!;
    expect(readRows(target, 0, "values", [hole]).every(Number.isNaN)).toBe(true);
    expect(readRows(target, 1, "keys", target.slots).every(Number.isFinite)).toBe(true);
  });

  it("lays transposed values channel after channel", () => {
    const options = { cells: 4, holes: 3, keyType: "f16" } as const;
    const target = fakeTarget(6, { ...options, valueLayout: "transposed" });
    const { valueDim, kvHeads } = target.shape.layers[0]!;
    const row = readRows(target, 0, "values", [target.slots[1]!]);
    for (let j = 0; j < kvHeads * valueDim; j++) {
      const at = 2 * (j * target.capacity + target.slots[1]!);
      expect(decodeRow("f16", target.values[0]!.subarray(at), 1)[0]).toBe(row[j]);
    }
    expect(rowBytesOf(target, 0, "values", target.slots[1]!)).toHaveLength(2 * kvHeads * valueDim);
  });
});

describe("guards and differences", () => {
  it("see one byte outside a buffer", () => {
    const target = fakeTarget(7, { cells: 4 });
    expect(brokenGuards(target)).toEqual([]);
    const { buffer, byteOffset, byteLength } = target.values[1]!;
    new Uint8Array(buffer)[byteOffset + byteLength]! += 1;
    expect(brokenGuards(target)).toEqual(["values 1"]);
  });

  it("see one byte of one cell, unless the cell is excepted", () => {
    const target = fakeTarget(8, { cells: 4, keyType: "f16", valueLayout: "transposed" });
    const copy = copyTarget(target);
    expect(firstDifference(target, copy)).toBeNull();
    copy.values[1]![0]! ^= 1;
    expect(firstDifference(target, copy)).toBe("values 1 cell 0");
    expect(firstDifference(target, copy, new Set([0]))).toBeNull();
  });
});
