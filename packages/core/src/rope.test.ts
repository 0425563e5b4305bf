/** Rotations: frequencies of models, both pairings, partial heads, and that angles add up. */
import { describe, expect, it } from "vitest";
import { codeOf, randomFloats } from "../test/small-cache.js";
import { createRandom } from "./random.js";
import { ropeFrequencies, rotateHead, rotationBy } from "./rope.js";
import type { RopeSpec } from "./shape.js";

const spec = (pairing: RopeSpec["pairing"], dims: number): RopeSpec => ({
  ...{ pairing, dims },
  frequencies: ropeFrequencies({ dims, base: 10000 }),
});

describe("ropeFrequencies", () => {
  it("is the geometric series", () => {
    expect([...ropeFrequencies({ dims: 4, base: 100 })]).toEqual([1, 0.1]);
  });

  it("scales all and divides by factors", () => {
    expect([...ropeFrequencies({ dims: 4, base: 100, scale: 0.5, factors: [1, 8] })]).toEqual([0.5, 0.00625]);
  });

  it("follows llama.cpp's YaRN ramp", () => {
    // angles at position 1 of ggml's rope_yarn: 64 dims, base 10000, freq_scale 0.25, context 4096, ramp from 10 to 23
    const got = ropeFrequencies({ dims: 64, base: 10000, scale: 0.25, yarn: { originalContext: 4096 } });
    const want = {
      0: 1,
      10: 0.0562341325,
      11: 0.039736785,
      15: 0.00948851649,
      22: 0.000547162839,
      31: 3.33380267e-5,
    };
    for (const [pair, angle] of Object.entries(want)) {
      // ggml multiplies up to 31 times in f32: 31 roundings
      expect(Math.abs(got[Number(pair)]! / angle - 1)).toBeLessThan(32 * 2 ** -24);
    }
  });

  it.each([
    { dims: 3, base: 10 },
    { dims: 0, base: 10 },
    { dims: 4, base: 0 },
    { dims: 4, base: Number.NaN },
    { dims: 4, base: 10, scale: -1 },
    { dims: 4, base: 10, factors: [1] },
    { dims: 4, base: 10, factors: [1, 0] },
  ])("refuses %o", (options) => {
    expect(codeOf(() => ropeFrequencies(options))).toBe("KVFOLD_ARGUMENT");
  });
});

describe("rotateHead", () => {
  it("turns pairs of neighbours", () => {
    const rope: RopeSpec = {
      pairing: "interleaved",
      dims: 4,
      frequencies: Float64Array.of(Math.PI / 2, Math.PI),
    };
    const head = Float64Array.from([1, 0, 0, 1]);
    rotateHead(head, 0, rope, rotationBy(rope, 1));
    for (const [i, want] of [0, 1, 0, -1].entries()) expect(head[i]).toBeCloseTo(want, 12);
  });

  it("turns pairs of halves", () => {
    const rope: RopeSpec = { pairing: "half", dims: 4, frequencies: Float64Array.of(Math.PI / 2, Math.PI) };
    const head = Float64Array.from([1, 0, 0, 1]);
    rotateHead(head, 0, rope, rotationBy(rope, 1));
    for (const [i, want] of [0, 0, 1, -1].entries()) expect(head[i]).toBeCloseTo(want, 12);
  });

  it.each(["interleaved", "half"] as const)(
    "%s: positions add up, and only the rotated channels move",
    (pairing) => {
      const rope = spec(pairing, 16);
      const original = Float64Array.from(randomFloats(40, createRandom(5)));
      const [direct, twice] = [original.slice(), original.slice()];
      rotateHead(direct, 8, rope, rotationBy(rope, 1000));
      rotateHead(twice, 8, rope, rotationBy(rope, 1234));
      rotateHead(twice, 8, rope, rotationBy(rope, -234));
      direct.forEach((value, i) => {
        // three rotations of doubles below 2
        expect(Math.abs(value - twice[i]!)).toBeLessThan(1e-12);
        if (i < 8 || i >= 24) expect(value).toBe(original[i]);
      });
      expect(direct).not.toEqual(original);
    },
  );

  it("reuses a rotation", () => {
    const rope = spec("half", 8);
    const rotation = rotationBy(rope, 1);
    expect(rotationBy(rope, 2, rotation)).toBe(rotation);
    expect(rotation).toEqual(rotationBy(rope, 2));
  });
});
