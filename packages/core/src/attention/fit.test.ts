/** The refit of one head: recovery, read-only cells, both forms, judging, and bad input. */
import { describe, expect, it } from "vitest";
import { type RandomHead, randomHead } from "../../test/random-head.js";
import { attendHead } from "./attend.js";
import { type FitInput, fitHead, fitHeadBytes } from "./fit.js";

/** Condition numbers here stay below 2^20; a few hundred double operations of 2^-53 each on top. */
const SOLVED = 2 ** -24;

const largest = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Array.from(a).reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0);

const rowsAt = (data: Float32Array, dim: number, cells: readonly number[]): Float32Array =>
  Float32Array.from(cells.flatMap((cell) => [...data.subarray(cell * dim, (cell + 1) * dim)]));

/** Keeps `kept` of the cells of a head and asks for the outputs of all of them. */
function folded(head: RandomHead, kept: readonly number[], free: readonly number[]): FitInput {
  return {
    dim: head.dim,
    valueDim: head.valueDim,
    queries: head.queries,
    targets: attendHead(head).outputs!,
    keys: rowsAt(head.keys, head.dim, kept),
    bias: head.bias && rowsAt(head.bias, 1, kept),
    values: rowsAt(head.values, head.valueDim, kept),
    free: Uint32Array.from(free),
    lambda: 0.01,
    holdout: 5,
  };
}

const everyOther = Array.from({ length: 20 }, (_, i) => 2 * i);
const halfFree = Array.from({ length: 10 }, (_, i) => 2 * i + 1);
const head = randomHead(4, 200, 40, 8, 6);

describe("by hand", () => {
  it("one cell, one query: the value moves by E / (1 + lambda)", () => {
    const input = { dim: 1, valueDim: 1, queries: Float64Array.of(1), keys: Float64Array.of(1) };
    const result = fitHead({
      ...input,
      values: Float64Array.of(2),
      targets: Float64Array.of(5),
      free: Uint32Array.of(0),
      lambda: 0.5,
      holdout: 0,
    });
    expect(result.values[0]).toBeCloseTo(2 + 3 / 1.5, 12);
    expect(result).toMatchObject({ accepted: true, form: "primal", guarded: 0 });
    expect(result.ridge).toBeCloseTo(0.5, 12);
    expect(result.fitted).toMatchObject({ rows: 1, target: 25, before: 9 });
    expect(result.fitted.after).toBeCloseTo(1, 12);
    expect(result.judged).toEqual({ rows: 0, target: 0, before: 0, after: 0 });
  });
});

describe("ridge factors", () => {
  const input = folded(head, everyOther, halfFree);
  const moved = (values: Float64Array, cell: number): number =>
    Math.hypot(...Array.from({ length: 6 }, (_, i) => values[6 * cell + i]! - input.values[6 * cell + i]!));

  it("by hand: the value moves by E / (1 + n lambda)", () => {
    const one = { dim: 1, valueDim: 1, queries: Float64Array.of(1), keys: Float64Array.of(1) };
    const asked = { targets: Float64Array.of(5), free: Uint32Array.of(0), lambda: 0.5, holdout: 0 };
    const ridgeFactors = Uint8Array.of(3);
    const result = fitHead({ ...one, ...asked, values: Float64Array.of(2), ridgeFactors });
    expect(result.values[0]).toBeCloseTo(2 + 3 / 2.5, 12);
    expect(result.ridge).toBeCloseTo(0.5, 12);
  });

  it("of 1 change nothing, larger ones hold their cells back", () => {
    const plain = fitHead(input).values;
    expect(fitHead({ ...input, ridgeFactors: new Uint8Array(10).fill(1) }).values).toEqual(plain);
    const ridgeFactors = Uint8Array.from(halfFree, (_, f) => (f === 2 ? 255 : 1));
    const held = fitHead({ ...input, ridgeFactors });
    expect(held.accepted).toBe(true);
    expect(moved(held.values, halfFree[2]!)).toBeLessThan(moved(plain, halfFree[2]!) / 5);
    expect(moved(held.values, halfFree[3]!)).toBeGreaterThan(moved(plain, halfFree[3]!) / 5);
  });

  it("are told by the primal form, whatever is smaller", () => {
    const few = { ...input, queries: input.queries.slice(0, 8 * 7), targets: input.targets.slice(0, 6 * 7) };
    expect(fitHead({ ...few, holdout: 0 }).form).toBe("dual");
    const ridgeFactors = new Uint8Array(10).fill(9);
    expect(fitHead({ ...few, holdout: 0, ridgeFactors }).form).toBe("primal");
  });
});

describe("recovery", () => {
  const all = Array.from({ length: 40 }, (_, i) => i);

  it("all cells kept: nothing to gain, nothing changes", () => {
    const input = folded(head, all, all);
    const result = fitHead(input);
    expect(largest(result.values, input.values)).toBeLessThan(SOLVED);
    expect(result.judged.after).toBeLessThan(SOLVED * result.judged.target);
  });

  it("values that were lost come back, the others stay bit for bit", () => {
    const free = [0, 7, 8, 31];
    const input = folded(head, all, free);
    const spoilt = input.values.slice() as Float32Array;
    for (const cell of free) spoilt.fill(0, cell * 6, (cell + 1) * 6);
    const result = fitHead({ ...input, values: spoilt, lambda: 1e-12 });
    expect(result.accepted).toBe(true);
    expect(largest(result.values, input.values)).toBeLessThan(SOLVED);
    for (const cell of all) {
      if (free.includes(cell)) continue;
      const row = [cell * 6, (cell + 1) * 6] as const;
      expect([...result.values.subarray(...row)]).toEqual([...spoilt.subarray(...row)]);
    }
  });
});

describe("a fold by two", () => {
  const input = folded(head, everyOther, halfFree);
  const result = fitHead(input);

  it("answers better on queries that it has not seen", () => {
    expect(result.accepted).toBe(true);
    expect(result.judged.rows).toBe(40);
    expect(result.fitted.rows).toBe(160);
    expect(result.judged.after).toBeLessThan(0.9 * result.judged.before);
    expect(fitHeadBytes(200, 20, 10, 6)).toBeGreaterThan(8 * 200 * 10);
  });

  it("reports the errors that a new attention finds", () => {
    for (const [values, name] of [
      [input.values, "before"],
      [result.values, "after"],
    ] as const) {
      const outputs = attendHead({ ...input, values }).outputs!;
      const squares = outputs.map((output, i) => (output - input.targets[i]!) ** 2);
      const judged = squares.filter((_, i) => Math.floor(i / 6) % 5 === 4).reduce((a, b) => a + b);
      const total = squares.reduce((a, b) => a + b);
      expect(result.judged[name]).toBeCloseTo(judged, 10);
      expect(result.fitted[name]).toBeCloseTo(total - judged, 10);
    }
  });

  it("primal and dual give the same values", () => {
    const dual = fitHead({ ...input, form: "dual" });
    expect(dual.form).toBe("dual");
    expect(result.form).toBe("primal");
    expect(largest(dual.values, result.values)).toBeLessThan(SOLVED);
    expect(
      fitHead({ ...input, queries: input.queries.subarray(0, 64), targets: input.targets.subarray(0, 48) })
        .form,
    ).toBe("dual");
  });

  it("the solution has no gradient: A^T (E - A X) = ridge X", () => {
    const outputs = attendHead({ ...input, values: result.values }).outputs!;
    const one = (cell: number): Float64Array => {
      const picked = new Float64Array(20);
      picked[cell] = 1;
      return attendHead({ ...input, values: picked, valueDim: 1 }).outputs!;
    };
    for (const cell of halfFree) {
      const weights = one(cell);
      for (let i = 0; i < 6; i++) {
        let gradient = 0;
        for (let row = 0; row < 200; row++) {
          if (row % 5 !== 4)
            gradient += weights[row]! * (input.targets[row * 6 + i]! - outputs[row * 6 + i]!);
        }
        const moved = result.values[cell * 6 + i]! - input.values[cell * 6 + i]!;
        expect(Math.abs(gradient - result.ridge * moved)).toBeLessThan(SOLVED);
      }
    }
  });
});

describe("judging", () => {
  it("turns down a fit that only learnt its own rows", () => {
    // judged rows ask for the opposite of what the fitted rows ask for
    const input = folded(
      head,
      everyOther,
      everyOther.map((_, i) => i),
    );
    const targets = input.targets.map((target, i) => (Math.floor(i / 6) % 5 === 4 ? -100 : 100) + target);
    const result = fitHead({ ...input, targets });
    expect(result.fitted.after).toBeLessThan(result.fitted.before);
    expect(result.judged.after).toBeGreaterThan(result.judged.before);
    expect(result.accepted).toBe(false);
    expect([...result.values]).toEqual([...input.values]);
  });

  it("accepts nothing when no row is left to judge", () => {
    const input = folded(head, everyOther, halfFree);
    expect(fitHead({ ...input, holdout: 201 })).toMatchObject({ accepted: false, judged: { rows: 0 } });
    expect(fitHead({ ...input, holdout: 0 })).toMatchObject({ accepted: true, judged: { rows: 0 } });
  });

  it("has nothing to do without free cells", () => {
    expect(fitHead(folded(head, everyOther, []))).toMatchObject({ accepted: false, form: "none", ridge: 0 });
  });
});

it("cells that nobody can tell apart share the change (no ridge at all, guarded)", () => {
  const twin = { dim: 1, valueDim: 1, queries: Float64Array.of(1, 2, 3), keys: Float64Array.of(1, 1) };
  const result = fitHead({
    ...twin,
    values: Float64Array.of(1, 1),
    targets: Float64Array.of(3, 3, 3),
    free: Uint32Array.of(0, 1),
    lambda: 0,
    holdout: 0,
  });
  expect(result.guarded).toBe(1);
  expect(result.fitted.after).toBeLessThan(SOLVED);
  expect((result.values[0]! + result.values[1]!) / 2).toBeCloseTo(3, 6);
});

describe("bad input", () => {
  const good = folded(head, everyOther, halfFree);
  it.each<[string, Partial<FitInput>]>([
    ["free cell out of range", { free: Uint32Array.of(20) }],
    ["free cells twice", { free: Uint32Array.of(3, 3) }],
    ["free cells out of order", { free: Uint32Array.of(4, 3) }],
    ["negative lambda", { lambda: -1 }],
    ["ridge factors of other cells", { ridgeFactors: Uint8Array.of(1) }],
    ["a ridge factor of 0", { ridgeFactors: new Uint8Array(10) }],
    ["ridge factors in the dual form", { ridgeFactors: new Uint8Array(10).fill(1), form: "dual" }],
    ["lambda NaN", { lambda: Number.NaN }],
    ["every row judges", { holdout: 1 }],
    ["holdout of half a row", { holdout: 2.5 }],
    ["short targets", { targets: new Float32Array(6) }],
    ["short values", { values: new Float32Array(6) }],
    ["no value channels", { valueDim: 0 }],
    ["NaN in targets", { targets: new Float32Array(1200).fill(Number.NaN) }],
    ["infinity in values", { values: new Float32Array(120).fill(Number.POSITIVE_INFINITY) }],
    ["huge values", { values: new Float32Array(120).fill(1e30) }],
  ])("%s", (_name, wrong) => {
    expect(() => fitHead({ ...good, ...wrong })).toThrow(
      expect.objectContaining({ code: "KVFOLD_ARGUMENT" }),
    );
  });
});
