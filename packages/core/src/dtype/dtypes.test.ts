/** Sizes, bytes that agree with ggml's own quantisers, and what storing may cost. */
import { describe, expect, it } from "vitest";
import { codeOf, randomFloats } from "../../test/small-cache.js";
import { createRandom } from "../random.js";
import type { DType } from "../shape.js";
import { DTYPES, decodeRow, encodeRow, rowBytes } from "./dtypes.js";

const TYPES = Object.keys(DTYPES) as DType[];

/** 64 numbers whose second block mixes two magnitudes. */
const SAMPLE = Float32Array.from({ length: 64 }, (_, i) => {
  const value = (((i * 7919) % 2003) - 1001) / 256;
  return i < 32 ? value : value * (i % 3 === 0 ? 2 ** -9 : 2 ** -3);
});

/** What `quantize_row_*_ref` of ggml 0.25.1, compiled with -ffp-contract=off, makes of the sample. */
const GGML: Partial<Record<DType, string>> = {
  q8_0:
    "e2278173685c5044382d211509fdf2e6dacec2b7ab9f93877a6e62564a3f33271b0f" +
    "d41b0400ece0ffc8bcffa599fe8175025d51013a2e01160a00f2e6ffcfc3ffab9ffe",
  q4_0: "d237403f3f2e1d0cfcfbead9d9c8b7a6a695c42b88c8b78698948478628158408f382e8d",
  q4_1: "1538d2c3403f3e2d1c0cfbeaead9c8b7b7a69595f52bc4b788b8b78698848478628158408f382e8d",
  q5_0: "d233fe0fc0ff807f5d4c2a19f7e6c4b391806e5d3b2ac42793f47f9200706d0c301907e0d403a0800f504c0a",
  q5_1: "e733d2c3fe0fc0ff807e5d4b2a18f7e5c4b291806e5d3b2ab427c4b793f47f9201706e0c301908e0d503a0800f504c0a",
};

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

describe("rows of bytes", () => {
  it.each(Object.entries(GGML) as [DType, string][])("%s agrees with ggml byte for byte", (dtype, want) => {
    expect(hex(encodeRow(dtype, SAMPLE))).toBe(want);
  });

  it.each(TYPES)("%s has the size it says", (dtype) => {
    const { blockChannels, blockBytes } = DTYPES[dtype];
    expect(rowBytes(dtype, 128)).toBe((128 / blockChannels) * blockBytes);
    expect(encodeRow(dtype, new Float32Array(128))).toHaveLength(rowBytes(dtype, 128));
  });

  // not the affine types: they store their minimum in f16, from which the extremes move by another rounding
  const STABLE = TYPES.filter((dtype) => dtype !== "q4_1" && dtype !== "q5_1");
  it.each(STABLE)("%s stores what it decodes to without another change", (dtype) => {
    const once = encodeRow(dtype, randomFloats(256, createRandom(7)));
    expect(hex(encodeRow(dtype, decodeRow(dtype, once, 256)))).toBe(hex(once));
  });

  // half a step of the block's scale (a whole one where the far end is clipped), and the f16 scale itself
  const STEP: Record<string, number> = {
    q8_0: 0.5 / 127,
    q4_0: 1 / 8,
    q4_1: 1 / 15,
    q5_0: 1 / 16,
    q5_1: 1 / 31,
  };
  it.each(Object.keys(STEP) as DType[])("%s loses no more than its step", (dtype) => {
    const values = randomFloats(1024, createRandom(3));
    const stored = decodeRow(dtype, encodeRow(dtype, values), 1024);
    for (let from = 0; from < 1024; from += 32) {
      const block = values.subarray(from, from + 32);
      const largest = block.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      block.forEach((value, i) => {
        const loss = Math.abs(value - stored[from + i]!);
        expect(loss).toBeLessThanOrEqual(largest * (STEP[dtype]! + 3 * 2 ** -11));
      });
    }
  });

  it("are little-endian and may start at any byte", () => {
    const bytes = new Uint8Array(9);
    encodeRow("f32", [1, -2], bytes.subarray(1));
    expect(hex(bytes)).toBe("000000803f000000c0");
    expect([...decodeRow("f32", bytes.subarray(1), 2)]).toEqual([1, -2]);
  });

  it.each(TYPES)("%s turns a block of zeros into zeros", (dtype) => {
    expect(decodeRow(dtype, encodeRow(dtype, new Float32Array(32)), 32).every((value) => value === 0)).toBe(
      true,
    );
  });
});

describe("bad arguments", () => {
  it.each([
    ["half a block", () => rowBytes("q8_0", 48)],
    ["no channels", () => rowBytes("f32", 0)],
    ["a fraction", () => rowBytes("f16", 1.5)],
    ["a size beyond 2^53", () => rowBytes("f32", 2 ** 52)],
    ["an unknown type", () => rowBytes("q3_K" as DType, 32)],
    ["a name of Object", () => rowBytes("toString" as DType, 32)],
    ["a short row", () => decodeRow("f16", new Uint8Array(3), 2)],
    ["a short output", () => encodeRow("f16", [1, 2], new Uint8Array(3))],
  ])("%s: KVFOLD_ARGUMENT", (_what, call) => {
    expect(codeOf(call)).toBe("KVFOLD_ARGUMENT");
  });
});
