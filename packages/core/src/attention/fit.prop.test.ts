/** For all heads: a fit never raises what it minimises, keeps read-only cells, and does not care about the basis. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { randomHead, randomRows } from "../../test/random-head.js";
import { hadamardTransform } from "../hadamard.js";
import { createRandom } from "../random.js";
import { attendHead } from "./attend.js";
import { type FitInput, fitHead } from "./fit.js";

const SEED = 20240404;

/** The systems have condition numbers up to 1 / lambda * cells < 2^20, solved in double: 2^-53 * 2^20 and slack. */
const SOLVED = 2 ** -26;

const cases = fc
  .record({
    seed: fc.nat(1_000_000),
    rows: fc.integer({ min: 1, max: 40 }),
    kept: fc.integer({ min: 1, max: 24 }),
    dim: fc.integer({ min: 1, max: 9 }),
    lambda: fc.constantFrom(1e-3, 1e-2, 0.1, 10),
    holdout: fc.constantFrom(0, 2, 5),
    share: fc.double({ min: 0, max: 1, noNaN: true }),
  })
  .map(({ seed, rows, kept, dim, lambda, holdout, share }): FitInput => {
    const random = createRandom(seed + 1);
    const head = randomHead(seed, rows, kept, dim, 8);
    const free = Uint32Array.from({ length: kept }, (_, cell) => cell).filter(() => random() < share);
    return { ...head, targets: randomRows(random, rows * 8), free, lambda, holdout };
  });

it("never raises the objective, whatever the form", () => {
  fc.assert(
    fc.property(cases, fc.constantFrom("primal" as const, "dual" as const), (input, form) => {
      const result = fitHead({ ...input, form, holdout: 0 });
      const moved = result.values.reduce((sum, value, i) => sum + (value - input.values[i]!) ** 2, 0);
      const objective = result.fitted.after + result.ridge * moved;
      expect(objective).toBeLessThanOrEqual(result.fitted.before * (1 + SOLVED));
    }),
    { seed: SEED, numRuns: 200 },
  );
});

it("never raises what ridge factors make of it", () => {
  fc.assert(
    fc.property(cases, fc.integer({ min: 2, max: 255 }), (input, most) => {
      const ridgeFactors = Uint8Array.from(input.free, (cell) => 1 + ((cell * 97) % most));
      const result = fitHead({ ...input, ridgeFactors, holdout: 0 });
      const held = [...input.free].reduce((sum, cell, f) => {
        const moved = Array.from(
          { length: 8 },
          (_, i) => result.values[8 * cell + i]! - input.values[8 * cell + i]!,
        );
        return sum + ridgeFactors[f]! * moved.reduce((all, x) => all + x * x, 0);
      }, 0);
      expect(result.fitted.after + result.ridge * held).toBeLessThanOrEqual(
        result.fitted.before * (1 + SOLVED),
      );
    }),
    { seed: SEED, numRuns: 200 },
  );
});

it("primal and dual agree", () => {
  fc.assert(
    fc.property(cases, (input) => {
      const primal = fitHead({ ...input, form: "primal" });
      const dual = fitHead({ ...input, form: "dual" });
      const scale = Math.sqrt(primal.fitted.before) + 1;
      expect(Math.abs(primal.fitted.after - dual.fitted.after)).toBeLessThanOrEqual(SOLVED * scale ** 2);
      expect(Math.abs(primal.judged.after - dual.judged.after)).toBeLessThanOrEqual(SOLVED * scale ** 2);
    }),
    { seed: SEED, numRuns: 200 },
  );
});

it("leaves read-only cells alone, and everything when it is not accepted", () => {
  fc.assert(
    fc.property(cases, (input) => {
      const before = JSON.stringify(input);
      const result = fitHead(input);
      const free = new Set(result.accepted ? input.free : []);
      result.values.forEach((value, i) => {
        if (!free.has(Math.floor(i / 8))) expect(value).toBe(input.values[i]);
      });
      const judge = input.holdout === 0 ? result.fitted : result.judged;
      if (result.accepted) expect(judge.after).toBeLessThan(judge.before);
      expect(JSON.stringify(input)).toBe(before);
    }),
    { seed: SEED, numRuns: 200 },
  );
});

it("commutes with a Hadamard rotation of the channels", () => {
  const rotate = (rows: ArrayLike<number>): Float64Array => {
    const turned = Float64Array.from(rows);
    for (let from = 0; from < turned.length; from += 8) hadamardTransform(turned, from, 8, 8);
    return turned;
  };
  fc.assert(
    fc.property(cases, (input) => {
      const plain = fitHead(input);
      const turned = fitHead({ ...input, values: rotate(input.values), targets: rotate(input.targets) });
      fc.pre(plain.accepted === turned.accepted);
      const want = rotate(plain.values);
      want.forEach((value, i) => {
        expect(Math.abs(turned.values[i]! - value)).toBeLessThanOrEqual(SOLVED * (1 + Math.abs(value)));
      });
    }),
    { seed: SEED, numRuns: 100 },
  );
});

it("weights of all cells sum to one", () => {
  fc.assert(
    fc.property(cases, (input) => {
      const { mean, maximum, rms } = attendHead({ ...input, values: null });
      expect(Math.abs(mean.reduce((a, b) => a + b, 0) - 1)).toBeLessThan(SOLVED);
      mean.forEach((value, cell) => {
        expect(value).toBeLessThanOrEqual(rms[cell]! * (1 + SOLVED));
        expect(rms[cell]!).toBeLessThanOrEqual(maximum[cell]! * (1 + SOLVED));
      });
    }),
    { seed: SEED, numRuns: 100 },
  );
});
