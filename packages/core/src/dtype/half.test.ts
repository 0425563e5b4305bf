/** f16 and bf16 over all of their values, and over every border between two neighbours. */
import { describe, expect, it } from "vitest";
import { decodeBF16, decodeF16, encodeBF16, encodeF16 } from "./half.js";

const float = new Float32Array(1);
const word = new Uint32Array(float.buffer);

/** The f32 next to a positive one. */
const neighbour = (value: number, step: 1 | -1): number => {
  float[0] = value;
  word[0] = word[0]! + step;
  return float[0]!;
};

describe("f16", () => {
  it("gives back all 65536 patterns", () => {
    const wrong: number[] = [];
    for (let bits = 0; bits < 65536; bits++) {
      const value = decodeF16(bits);
      const want = Number.isNaN(value) ? 0x7e00 : bits;
      if (encodeF16(value) !== want) wrong.push(bits);
    }
    expect(wrong).toEqual([]);
  });

  it("follows IEEE 754 binary16", () => {
    const samples = [0x0000, 0x8000, 0x0001, 0x03ff, 0x0400, 0x3c00, 0xc000, 0x7bff, 0x7c00, 0xfc00];
    const values = [
      0,
      -0,
      2 ** -24,
      1023 * 2 ** -24,
      2 ** -14,
      1,
      -2,
      65504,
      Number.POSITIVE_INFINITY,
      Number.NEGATIVE_INFINITY,
    ];
    expect(samples.map(decodeF16)).toEqual(values);
  });

  it("rounds to the nearest neighbour, halves to even, between all neighbours", () => {
    const wrong: number[] = [];
    for (let bits = 0; bits < 0x7bff; bits++) {
      // exact in f32: f16 has 13 bits less
      const middle = (decodeF16(bits) + decodeF16(bits + 1)) / 2;
      const even = bits % 2 === 0 ? bits : bits + 1;
      const got = [
        encodeF16(neighbour(middle, -1)),
        encodeF16(middle),
        encodeF16(neighbour(middle, 1)),
        encodeF16(-middle),
      ];
      if (got.join() !== [bits, even, bits + 1, even | 0x8000].join()) wrong.push(bits);
    }
    expect(wrong).toEqual([]);
  });

  it("overflows to infinity from 65520 and keeps the sign of zero and NaN", () => {
    expect([65519.99, 65520, 1e30, -1e30, 1e-30, -0].map(encodeF16)).toEqual([
      0x7bff, 0x7c00, 0x7c00, 0xfc00, 0, 0x8000,
    ]);
    expect(encodeF16(Number.NaN) & 0x7fff).toBe(0x7e00);
  });
});

describe("bf16", () => {
  it("gives back all 65536 patterns", () => {
    const wrong: number[] = [];
    for (let bits = 0; bits < 65536; bits++) {
      const value = decodeBF16(bits);
      const got = encodeBF16(value);
      if (Number.isNaN(value) ? !Number.isNaN(decodeBF16(got)) : got !== bits) wrong.push(bits);
    }
    expect(wrong).toEqual([]);
  });

  it("rounds halves to even", () => {
    // 1 + 2^-8 lies between 1 and 1 + 2^-7
    expect([1 + 2 ** -8, 1 + 3 * 2 ** -8, 1 + 2 ** -8 + 2 ** -20].map(encodeBF16)).toEqual([
      0x3f80, 0x3f82, 0x3f81,
    ]);
  });
});
