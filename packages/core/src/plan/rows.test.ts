/** What is carried over a fold: source maps, tokens, log-probabilities, biases. */
import { describe, expect, it } from "vitest";
import { smallCache, smallLayer } from "../../test/small-cache.js";
import type { CacheShape } from "../shape.js";
import { sharedPlan } from "./builder.js";
import { compositePlan, keepPlan } from "./keep.js";
import { isIdentityRow, keptCell, nextBias, nextSources, nextTokenLogProbs, nextTokens } from "./rows.js";

const shape: CacheShape = { layers: [smallLayer(), smallLayer({ kvHeads: 1, rope: null })], cells: 6 };
const view = await smallCache({ layers: shape.layers, positions: Int32Array.of(0, 1, 2, 3, 4, 5) }).lease();
/** [2 heads, 6 cells] */
const sources = Int32Array.of(10, 11, 12, 13, 14, 15, 20, 21, 22, 23, 24, 25);

describe("nextSources", () => {
  it("is null where every key is rotated to its row", () => {
    const plan = keepPlan(view, [0, 2, 5]);
    expect(nextSources(plan, shape, 0, view.positions, null)).toBeNull();
  });

  it("remembers true positions where rows move", () => {
    const plan = keepPlan(view, [0, 2, 5], { positions: "dense" });
    expect(nextSources(plan, shape, 0, view.positions, null)).toEqual(Int32Array.of(0, 2, 5, 0, 2, 5));
    expect(nextSources(plan, shape, 1, view.positions, null)).toEqual(Int32Array.of(0, 2, 5));
  });

  it("carries an old map along, head by head", () => {
    const plan = keepPlan(view, [1, 5]);
    expect(nextSources(plan, shape, 0, view.positions, sources)).toEqual(Int32Array.of(11, 15, 21, 25));
    const composite = compositePlan(view, Uint32Array.of(0, 5, 1, 5, 2, 5, 2, 5));
    expect(nextSources(composite, shape, 0, view.positions, sources)).toEqual(Int32Array.of(10, 15, 21, 25));
    expect(nextSources(composite, shape, 1, view.positions, null)).toEqual(Int32Array.of(2, 5));
  });

  it("gives a merged key the source of its largest weight, ties to the first", () => {
    const row = (keyWeights: number[]) => ({ members: [1, 2, 3], position: 3, keyWeights });
    const of = (keyWeights: number[]) =>
      nextSources(sharedPlan(view, [row(keyWeights)]), shape, 0, view.positions, sources);
    expect(of([0.2, 0.5, 0.3])).toEqual(Int32Array.of(12, 22));
    expect(of([0.4, -0.5, 0.1])).toEqual(Int32Array.of(12, 22));
    expect(of([0.5, 0.5, 0.5])).toEqual(Int32Array.of(11, 21));
  });

  it("looks at the weights of each head", () => {
    const plan = sharedPlan(view, [{ members: [1, 2], position: 2 }], {
      headWeights: (_layer, head) => ({ key: head === 0 ? [1, 0] : [0, 1], value: [1, 0] }),
    });
    expect(nextSources(plan, shape, 0, view.positions, null)).toEqual(Int32Array.of(1, 2));
  });

  it("is the row's position in frame `target`, except where nothing rotates", () => {
    const plan = sharedPlan(
      view,
      [
        { members: [0, 1], position: 0 },
        { members: [3], position: 1 },
      ],
      { keyFrame: "target" },
    );
    expect(nextSources(plan, shape, 0, view.positions, sources)).toBeNull();
    expect(nextSources(plan, shape, 1, view.positions, null)).toEqual(Int32Array.of(0, 3));
  });
});

describe("rows", () => {
  it("are identities when one cell is kept as it is", () => {
    const rows = [
      { members: [0], position: 0 },
      { members: [2], position: 1 },
      { members: [3], position: 3, valueWeights: [2] },
    ];
    const target = sharedPlan(view, rows, { keyFrame: "target" });
    const cache = { shape, positions: view.positions };
    expect([0, 1, 2].map((row) => keptCell(target, row))).toEqual([0, 2, -1]);
    // row 1 turns its key from position 2 to 1
    expect([0, 1, 2].map((row) => isIdentityRow(target, row, cache))).toEqual([true, false, false]);
    const stored = sharedPlan(view, rows);
    expect([0, 1, 2].map((row) => isIdentityRow(stored, row, cache))).toEqual([true, true, false]);
    const plain = { shape: { ...shape, layers: [shape.layers[1]!] }, positions: view.positions };
    expect(isIdentityRow(target, 1, plain)).toBe(true);
    const elsewhere = { ...cache, sources: () => Int32Array.of(0, 1, 1, 3, 4, 5, 0, 1, 1, 3, 4, 5) };
    expect([0, 1].map((row) => isIdentityRow(target, row, elsewhere))).toEqual([true, true]);
  });

  it("keep tokens and log-probabilities only where all heads keep the same cell", () => {
    const tokens = Int32Array.of(100, 101, 102, 103, 104, 105);
    const logProbs = Float32Array.of(-1, -2, -3, -4, -5, -6);
    const shared = sharedPlan(view, [
      { members: [0], position: 0 },
      { members: [1, 2], position: 2 },
      { members: [5], position: 5 },
    ]);
    expect(nextTokens(shared, tokens)).toEqual(Int32Array.of(100, -1, 105));
    expect(nextTokenLogProbs(shared, logProbs)).toEqual(Float32Array.of(-1, Number.NaN, -6));
    const composite = compositePlan(view, Uint32Array.of(0, 5, 1, 5, 2, 5, 2, 5));
    expect(nextTokens(composite, tokens)).toEqual(Int32Array.of(-1, 105));
    expect([nextTokens(shared, null), nextTokenLogProbs(shared, null)]).toEqual([null, null]);
  });

  it("hand on biases as a copy, or none", () => {
    const plan = sharedPlan(view, [{ members: [0, 1], position: 1, bias: 2 }]);
    expect(nextBias(plan)).toEqual(Float32Array.of(2));
    expect(nextBias(plan)).not.toBe(plan.bias);
    expect(nextBias({ ...plan, bias: new Float32Array(1) })).toBeNull();
    expect(nextBias({ ...plan, bias: null })).toBeNull();
  });
});
