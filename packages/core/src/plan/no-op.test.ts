/** Which plans change nothing. */
import { describe, expect, it } from "vitest";
import { smallCache, smallLayer } from "../../test/small-cache.js";
import type { CacheLease } from "../cache.js";
import { sharedPlan } from "./builder.js";
import { compositePlan, identityPlan, keepPlan } from "./keep.js";
import { isNoOpPlan } from "./no-op.js";

const CELLS = 4;
const lease = (options: Parameters<typeof smallCache>[0] = {}): Promise<CacheLease> =>
  smallCache({ cells: CELLS, ...options }).lease();
const all = Array.from({ length: CELLS }, (_, cell) => cell);
const rowsAt = (positions: readonly number[]) =>
  positions.map((position, cell) => ({ members: [cell], position }));

describe("a plan changes nothing when", () => {
  it("it keeps every cell, as shared or composite plan, under any frame that turns no key", async () => {
    const view = await lease({ bias: Float32Array.of(0, 0.5, 0, 0) });
    expect(isNoOpPlan(identityPlan(view), view)).toBe(true);
    expect(isNoOpPlan(sharedPlan(view, rowsAt(all), { keyFrame: "target" }), view)).toBe(true);
    const plain = await lease();
    expect(isNoOpPlan(compositePlan(plain, Uint32Array.from([...all, ...all])), plain)).toBe(true);
  });
});

describe("a plan changes something when", () => {
  it("it drops a cell, or heads keep others", async () => {
    const view = await lease();
    expect(isNoOpPlan(keepPlan(view, [0, 1, 3]), view)).toBe(false);
    expect(isNoOpPlan(compositePlan(view, Uint32Array.of(0, 1, 2, 3, 1, 0, 2, 3)), view)).toBe(false);
  });

  it("cells change places", async () => {
    const view = await lease({ positions: Int32Array.of(5, 5, 5, 5) });
    const swapped = [1, 0, 2, 3].map((cell) => ({ members: [cell], position: 5 }));
    expect(isNoOpPlan(sharedPlan(view, swapped), view)).toBe(false);
  });

  it("positions move, whether or not keys turn with them", async () => {
    const view = await lease({ layers: [smallLayer({ rope: null })] });
    for (const keyFrame of ["stored", "target"] as const) {
      expect(isNoOpPlan(sharedPlan(view, rowsAt([0, 0, 1, 1]), { keyFrame }), view)).toBe(false);
    }
  });

  it("keys turn where they are", async () => {
    const view = await lease({ sources: [Int32Array.of(0, 1, 2, 3, 0, 1, 2, 9)] });
    expect(isNoOpPlan(sharedPlan(view, rowsAt(all), { keyFrame: "target" }), view)).toBe(false);
    expect(isNoOpPlan(identityPlan(view), view)).toBe(true);
  });

  it("weights, counts or a bias are others", async () => {
    const view = await lease();
    const plan = identityPlan(view);
    const half = sharedPlan(
      view,
      rowsAt(all).map((row) => ({ ...row, valueWeights: [0.5] })),
    );
    expect(isNoOpPlan(half, view)).toBe(false);
    expect(isNoOpPlan({ ...plan, counts: Uint32Array.of(2, 1, 1, 0) }, view)).toBe(false);
    expect(isNoOpPlan({ ...plan, bias: Float32Array.of(0, 0, 0, 1) }, view)).toBe(false);
  });
});
