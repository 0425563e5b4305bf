/** Budgets: ratios, cells and bytes to targets. */
import { describe, expect, it } from "vitest";
import { cellBytes, type Keep, targetCells } from "./budget.js";
import type { LayerShape } from "./shape.js";

describe("a ratio", () => {
  it.each([
    [4096, 4, 1024],
    [10, 4, 3],
    [10, 1, 10],
    [10, 1.5, 7],
    [10, 10, 1],
    [1, 1, 1],
  ])("of %i cells at %f leaves %i", (cells, ratio, target) => {
    for (const scope of ["new", "all"] as const) {
      expect(targetCells({ cells, scope }, { ratio })).toEqual({ target, ratio });
    }
  });

  it("holds for the range, where the scope is new", () => {
    // 100 cells outside stay, 512 new ones become 128
    const basis = { cells: 612, tokensSeen: 1024, range: { from: 100, to: 612 }, scope: "new" as const };
    expect(targetCells(basis, { ratio: 4 })).toEqual({ target: 228, ratio: 4 });
  });

  it("of a few new cells leaves one of them", () => {
    expect(
      targetCells({ cells: 103, range: { from: 100, to: 103 }, scope: "new" }, { ratio: 8 }).target,
    ).toBe(101);
    expect(
      targetCells({ cells: 100, range: { from: 100, to: 100 }, scope: "new" }, { ratio: 8 }).target,
    ).toBe(100);
  });

  it("holds for all tokens seen, where the scope is all, and never grows the cache", () => {
    expect(targetCells({ cells: 640, tokensSeen: 1024, scope: "all" }, { ratio: 4 }).target).toBe(256);
    expect(targetCells({ cells: 200, tokensSeen: 1024, scope: "all" }, { ratio: 4 }).target).toBe(200);
  });

  it.each([0, 0.99, -2, Number.NaN, Number.POSITIVE_INFINITY, 1e9, 11])(
    "of %f is refused for 10 cells",
    (ratio) => {
      expect(() => targetCells({ cells: 10 }, { ratio })).toThrow(
        expect.objectContaining({ code: "KVFOLD_RATIO" }),
      );
    },
  );
});

describe("cells and bytes", () => {
  it("say the ratio that they come to", () => {
    expect(targetCells({ cells: 100 }, { cells: 25 })).toEqual({ target: 25, ratio: 4 });
    expect(targetCells({ cells: 100 }, { cells: 500 })).toEqual({ target: 100, ratio: 1 });
    expect(targetCells({ cells: 100, cellBytes: 10 }, { bytes: 259 })).toEqual({ target: 25, ratio: 4 });
    const basis = { cells: 120, range: { from: 20, to: 120 }, scope: "new" as const };
    expect(targetCells(basis, { cells: 45 })).toEqual({ target: 45, ratio: 4 });
  });

  it.each<[unknown]>([
    [{ cells: 0 }],
    [{ cells: 1.5 }],
    [{ bytes: 9 }],
    [{ bytes: Number.NaN }],
    [{}],
    [null],
    [{ ratio: 2, cells: 3 }],
    [{ ratio: "4" }],
    [{ share: 0.5 }],
  ])("refuses %j", (keep) => {
    const call = () => targetCells({ cells: 100, cellBytes: 10 }, keep as Keep);
    expect(call).toThrow(expect.objectContaining({ code: "KVFOLD_ARGUMENT" }));
  });

  it("cannot be met by the range when more cells lie outside it", () => {
    const basis = { cells: 100, range: { from: 90, to: 100 } };
    expect(() => targetCells(basis, { cells: 50 })).toThrow(
      /90 cells lie outside the range, but only 50 may stay/,
    );
    expect(() => targetCells(basis, { ratio: 4 })).toThrow(
      expect.objectContaining({ code: "KVFOLD_BUDGET" }),
    );
  });
});

it("counts the bytes of a cell: keys and values of all heads and layers", () => {
  const layer: LayerShape = {
    layer: 0,
    kvHeads: 3,
    queryHeads: 9,
    keyDim: 64,
    valueDim: 32,
    keyType: "q8_0",
    valueType: "f16",
    valueLayout: "rows",
    rope: null,
    hadamard: { key: 0, value: 0 },
    window: null,
  };
  // q8_0: 34 bytes for 32 channels
  expect(cellBytes({ layers: [layer, { ...layer, kvHeads: 1 }] })).toBe(3 * (68 + 64) + (68 + 64));
});
