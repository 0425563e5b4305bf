/** Values that a plan gives are stored in the type and basis of the cache; keys and other rows stay bytes. */
import { describe, expect, it } from "vitest";
import { largestDifference, smallCache, smallLayer } from "../../test/small-cache.js";
import { keepPlan } from "../plan/keep.js";

describe("given values", () => {
  it.each([
    ["f32", {}, 0],
    ["f32 under Hadamard", { hadamard: { key: 0, value: 32 } }, 4 * Math.sqrt(32) * 2 ** -24],
    ["f16, transposed", { valueType: "f16", valueLayout: "transposed" }, 2 ** -11],
  ] as const)("are stored in %s", async (_name, change, bound) => {
    const cache = smallCache({ layers: [smallLayer(change)] });
    const lease = await cache.lease();
    const plan = keepPlan(lease, [0, 3, 7]);
    const given = Uint8Array.of(0, 1, 0, 0, 0, 1);
    const data = Float32Array.from({ length: 64 }, (_, i) => Math.cos(i));
    const { fits } = await cache.apply(lease, { ...plan, values: { given, data } });
    lease.release();
    const values = await (await cache.lease()).values(0);
    const got = [...values.subarray(32, 64), ...values.subarray(5 * 32)];
    expect(largestDifference(got, data)).toBeLessThanOrEqual(bound);
    expect(fits).toBeNull();
  });
});
