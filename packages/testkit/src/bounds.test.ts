/** The bounds hold for what core's codec really does, and are tight enough to notice a wrong step. */
import { DTYPES, type DType, decodeRow, encodeRow } from "@kvfold/core";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { addBounds, BOUNDS, boundFor, ROUNDOFF, scaleBound } from "./bounds.js";
import { allowances, expectWithin } from "./expect-within.js";
import { seededRandom } from "./random.js";
import { fuzz } from "./runs.js";

const dtypes = Object.keys(DTYPES) as DType[];
const stored = (dtype: DType, row: Float64Array): Float32Array =>
  decodeRow(dtype, encodeRow(dtype, row), row.length);

/** The largest error over the allowed one. */
function share(got: ArrayLike<number>, want: Float64Array, dtype: DType): number {
  const allowed = allowances(want, boundFor("store", dtype));
  return want.reduce((worst, value, i) => Math.max(worst, Math.abs(got[i]! - value) / allowed[i]!), 0);
}

/** Numbers as caches hold them, from tiny to large. */
const row = fc
  .record({
    seed: fc.integer({ min: 0, max: 2 ** 31 }),
    exponent: fc.integer({ min: -20, max: 8 }),
    outlier: fc.constantFrom(1, 1, 30),
  })
  .map(({ seed, exponent, outlier }) => {
    const random = seededRandom(seed);
    return Float64Array.from(
      { length: 64 },
      (_, i) => random.normal() * 2 ** exponent * (i === 7 ? outlier : 1),
    );
  });

describe("store", () => {
  it.each(dtypes)("%s: holds for every row", (dtype) => {
    fc.assert(
      fc.property(row, (values) => share(stored(dtype, values), values, dtype) <= 1),
      fuzz(400),
    );
  });

  it.each(dtypes)("%s: is not twice as wide as the worst row", (dtype) => {
    const random = seededRandom(3);
    let worst = 0;
    for (let i = 0; i < 400; i++) {
      const values = Float64Array.from({ length: 32 }, () => random.next() * 2 - 1);
      worst = Math.max(worst, share(stored(dtype, values), values, dtype));
    }
    expect(worst).toBeGreaterThan(0.5);
  });

  it.each([
    ["q8_0", 0x02],
    ["q4_0", 0x20],
    ["q5_0", 0x20],
  ] as const)("%s: notices a quant that is two steps off", (dtype, twoSteps) => {
    const values = Float64Array.from({ length: 32 }, (_, i) => Math.cos(i));
    const bytes = encodeRow(dtype, values);
    bytes[DTYPES[dtype].blockBytes - 1]! ^= twoSteps;
    expect(share(decodeRow(dtype, bytes, 32), values, dtype)).toBeGreaterThan(1);
  });
});

describe("fold", () => {
  it("covers f32 sums of n members in any order, and not much more", () => {
    const random = seededRandom(11);
    let worst = 0;
    for (let i = 0; i < 200; i++) {
      const terms = Array.from({ length: 8 }, () => [random.normal(), random.normal()] as const);
      const want = terms.reduce((sum, [w, x]) => sum + Math.fround(w) * Math.fround(x), 0);
      const got = terms.reduce(
        (sum, [w, x]) => Math.fround(sum + Math.fround(Math.fround(w) * Math.fround(x))),
        0,
      );
      const magnitude = terms.reduce((sum, [w, x]) => sum + Math.abs(w * x), 0);
      const [allowed] = allowances([want], boundFor("fold", "f32", { members: 8, magnitude }));
      worst = Math.max(worst, Math.abs(got - want) / allowed!);
    }
    expect(worst).toBeLessThanOrEqual(1);
    expect(worst).toBeGreaterThan(0.1);
  });

  it("grows with members, rotation, Hadamard, and doubles against a stored row", () => {
    const plain = BOUNDS.fold("f32", { members: 2, magnitude: 1 }).absolute;
    expect(BOUNDS.fold("f32", { members: 4, magnitude: 1 }).absolute).toBeGreaterThan(plain);
    expect(BOUNDS.fold("f32", { members: 2, magnitude: 1, rotated: true }).absolute).toBeGreaterThan(plain);
    expect(BOUNDS.fold("f32", { members: 2, magnitude: 1, hadamard: 64 }).absolute).toBeGreaterThan(plain);
    expect(BOUNDS.fold("f32", { members: 2, magnitude: 1, against: "stored" }).absolute).toBe(2 * plain);
  });
});

describe("keyStats", () => {
  it("covers norms and cosines computed in f32", () => {
    const keyDim = 64;
    const random = seededRandom(5);
    const bound = BOUNDS.keyStats({ keyDim, cells: 100 });
    for (let i = 0; i < 100; i++) {
      const key = Float32Array.from({ length: keyDim }, () => random.normal());
      const want = Math.sqrt(key.reduce((sum, x) => sum + x * x, 0));
      const got = Math.fround(Math.sqrt(key.reduce((sum, x) => Math.fround(sum + Math.fround(x * x)), 0)));
      expectWithin([got], [want], bound.norm, "norm");
    }
    expect(bound.meanCosine.absolute).toBeLessThan(ROUNDOFF.f16);
  });
});

describe("arithmetic of bounds", () => {
  it("adds and scales every part", () => {
    const bound = { absolute: 1, relative: 2, ofBlockMax: 3, block: 32 };
    expect(addBounds(bound, scaleBound(bound, 2))).toEqual({
      absolute: 3,
      relative: 6,
      ofBlockMax: 9,
      block: 32,
    });
  });
});
