/** Attention of one head: by hand, against a direct sum of exponentials, and bad input. */
import { describe, expect, it } from "vitest";
import { randomHead } from "../../test/random-head.js";
import { type AttendInput, attendHead } from "./attend.js";

/** A few thousand double operations of relative error 2^-53 each; 2^-40 leaves a factor of two. */
const DOUBLE = 2 ** -40;

/** The definition, without the subtraction of the largest score: exact as long as nothing overflows. */
function direct(input: AttendInput, rows: number, cells: number): number[][] {
  return Array.from({ length: rows }, (_, row) => {
    const parts = Array.from({ length: cells }, (_unused, cell) => {
      let score = input.bias?.[cell] ?? 0;
      for (let i = 0; i < input.dim; i++)
        score += input.queries[row * input.dim + i]! * input.keys[cell * input.dim + i]!;
      return Math.exp(score);
    });
    const total = parts.reduce((a, b) => a + b, 0);
    return parts.map((part) => part / total);
  });
}

const near = (got: number, want: number): void =>
  expect(Math.abs(got - want)).toBeLessThanOrEqual(DOUBLE * Math.max(1, Math.abs(want)));

describe("by hand", () => {
  it("two queries over two cells", () => {
    // scores 0 | ln 3 for the first query, ln 3 | 0 for the second: weights 1/4 3/4 and 3/4 1/4
    const result = attendHead({
      dim: 2,
      queries: Float64Array.of(0, Math.log(3), Math.log(3), 0),
      keys: Float64Array.of(1, 0, 0, 1),
      values: Float64Array.of(4, 8),
      valueDim: 1,
    });
    for (const cell of [0, 1]) {
      near(result.maximum[cell]!, 3 / 4);
      near(result.mean[cell]!, 1 / 2);
      near(result.rms[cell]!, Math.sqrt((9 / 16 + 1 / 16) / 2));
    }
    near(result.outputs![0]!, 4 / 4 + (3 * 8) / 4);
    near(result.outputs![1]!, (3 * 4) / 4 + 8 / 4);
  });

  it("a bias of ln n counts a cell n times", () => {
    const twice = attendHead({
      dim: 1,
      queries: Float64Array.of(0.7),
      keys: Float64Array.of(1, 1, 2),
    });
    const once = attendHead({
      dim: 1,
      queries: Float64Array.of(0.7),
      keys: Float64Array.of(1, 2),
      bias: Float64Array.of(Math.log(2), 0),
    });
    near(once.mean[0]!, twice.mean[0]! + twice.mean[1]!);
    near(once.mean[1]!, twice.mean[2]!);
    expect(twice.outputs).toBeNull();
  });

  it("scores of a million do not overflow", () => {
    const result = attendHead({
      dim: 1,
      queries: Float64Array.of(1e3, -1e3),
      keys: Float64Array.of(1e3, -1e3),
    });
    expect([...result.mean]).toEqual([0.5, 0.5]);
    expect([...result.maximum]).toEqual([1, 1]);
  });
});

describe.each([
  [1, 1, 1, 1],
  [3, 17, 5, 4],
  [40, 61, 8, 3],
  [7, 200, 64, 64],
])("%i queries, %i cells, %i channels, values of %i", (rows, cells, dim, valueDim) => {
  it("equals the direct sum", () => {
    const head = randomHead(rows * cells, rows, cells, dim, valueDim);
    const weights = direct(head, rows, cells);
    const result = attendHead(head);
    for (let cell = 0; cell < cells; cell++) {
      const column = weights.map((row) => row[cell]!);
      near(result.maximum[cell]!, Math.max(...column));
      near(result.mean[cell]!, column.reduce((a, b) => a + b, 0) / rows);
      near(result.rms[cell]!, Math.sqrt(column.reduce((a, b) => a + b * b, 0) / rows));
    }
    for (let row = 0; row < rows; row++) {
      for (let i = 0; i < valueDim; i++) {
        const want = weights[row]!.reduce((sum, w, cell) => sum + w * head.values[cell * valueDim + i]!, 0);
        near(result.outputs![row * valueDim + i]!, want);
      }
    }
  });
});

describe("bad input", () => {
  const good = randomHead(2, 3, 5, 4, 2);
  it.each<[string, Partial<AttendInput>]>([
    ["no channels", { dim: 0 }],
    ["half a channel", { dim: 0.5 }],
    ["part of a query", { queries: new Float32Array(7) }],
    ["no query", { queries: new Float32Array(0) }],
    ["no cell", { keys: new Float32Array(0) }],
    ["short bias", { bias: new Float32Array(4) }],
    ["short values", { values: new Float32Array(9) }],
    ["values without channels", { valueDim: 0 }],
    ["NaN in a query", { queries: good.queries.with(3, Number.NaN) }],
    ["infinity in a key", { keys: good.keys.with(19, Number.POSITIVE_INFINITY) }],
    ["NaN in the bias", { bias: new Float32Array(5).fill(Number.NaN) }],
    ["NaN in a value", { values: good.values.with(0, Number.NaN) }],
    ["scores that overflow", { queries: good.queries.with(0, 1e30), keys: good.keys.with(0, 1e30) }],
  ])("%s", (_name, wrong) => {
    expect(() => attendHead({ ...good, ...wrong })).toThrow(
      expect.objectContaining({ code: "KVFOLD_ARGUMENT" }),
    );
  });
});
