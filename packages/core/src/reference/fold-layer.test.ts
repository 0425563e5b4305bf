/** Merged rows against sums and rotations written out by hand. */
import { describe, expect, it } from "vitest";
import { foldWith } from "../../test/layer-kinds.js";
import { largestDifference, randomFloats, smallCache, smallLayer } from "../../test/small-cache.js";
import { decodeRow } from "../dtype/dtypes.js";
import { hadamardTransform } from "../hadamard.js";
import { sharedPlan } from "../plan/builder.js";
import { createRandom } from "../random.js";
import { rotateHead, rotationBy } from "../rope.js";

/** Unit roundoff of a store in f32. */
const F32 = 2 ** -24;

describe("merged rows", () => {
  it("are weighted sums, by head where the weights say so", async () => {
    const cache = smallCache({ cells: 3 });
    const view = await cache.lease();
    const [keys, values] = [await view.keys(0, "stored"), await view.values(0)];
    const plan = sharedPlan(view, [{ members: [0, 2], position: 2 }], {
      headWeights: (_layer, head) => ({
        key: head === 0 ? [0.25, -2] : [1, 1],
        value: head === 0 ? [0.5, 0.5] : [0, 3],
      }),
    });
    await cache.apply(view, plan);
    view.release();
    const after = await cache.lease();
    const [newKeys, newValues] = [await after.keys(0, "stored"), await after.values(0)];
    for (let i = 0; i < 32; i++) {
      const at = (from: Float32Array, head: number, cell: number): number =>
        from[(head * 3 + cell) * 32 + i]!;
      expect(newKeys[i]).toBe(Math.fround(0.25 * at(keys, 0, 0) - 2 * at(keys, 0, 2)));
      expect(newKeys[32 + i]).toBe(Math.fround(at(keys, 1, 0) + at(keys, 1, 2)));
      expect(newValues[i]).toBe(Math.fround(0.5 * at(values, 0, 0) + 0.5 * at(values, 0, 2)));
      expect(newValues[32 + i]).toBe(Math.fround(3 * at(values, 1, 2)));
    }
  });

  it("do not read members of weight 0", async () => {
    const keys = randomFloats(2 * 2 * 32, createRandom(1));
    keys.fill(Number.NaN, 32, 64);
    const cache = smallCache({ cells: 2, keys: [keys] });
    await foldWith(cache, (view) =>
      sharedPlan(view, [{ members: [0, 1], position: 1, keyWeights: [0.5, 0] }]),
    );
    const after = await cache.lease();
    expect((await after.keys(0, "stored")).subarray(0, 32)).toEqual(
      keys.subarray(0, 32).map((value) => 0.5 * value),
    );
  });

  it.each(["interleaved", "half"] as const)(
    "%s: frame `target` turns members to the row's position",
    async (pairing) => {
      const rope = { ...smallLayer().rope!, pairing };
      const positions = Int32Array.of(5, 9, 700);
      const cache = smallCache({ positions, layers: [smallLayer({ rope })] });
      const view = await cache.lease();
      const keys = await view.keys(0, "stored");
      const plan = sharedPlan(view, [{ members: [0, 2], position: 4, keyWeights: [0.5, 0.5] }], {
        keyFrame: "target",
      });
      await cache.apply(view, plan);
      view.release();
      const got = await (await cache.lease()).keys(0, "stored");
      for (const head of [0, 1]) {
        const want = new Float64Array(32);
        for (const cell of [0, 2]) {
          const key = Float64Array.from(keys.subarray((head * 3 + cell) * 32, (head * 3 + cell + 1) * 32));
          rotateHead(key, 0, rope, rotationBy(rope, 4 - positions[cell]!));
          key.forEach((value, i) => {
            want[i]! += 0.5 * value;
          });
        }
        // two terms below 1 / 2, turned in double and stored once
        expect(largestDifference(got.subarray(32 * head, 32 * head + 32), want)).toBeLessThanOrEqual(2 * F32);
      }
    },
  );

  it("turn from the source map where cells were composite", async () => {
    const sources = [Int32Array.of(3, 8, 4, 8)];
    const cache = smallCache({ positions: Int32Array.of(7, 8), sources });
    const view = await cache.lease();
    const unrotated = await view.keys(0, "unrotated");
    const rows = [
      { members: [0], position: 0 },
      { members: [1], position: 1 },
    ];
    await cache.apply(view, sharedPlan(view, rows, { keyFrame: "target" }));
    view.release();
    const after = await cache.lease();
    expect(after.sources(0)).toBeNull();
    const again = await after.keys(0, "unrotated");
    // rotated back, on, stored in f32, and back: a few roundings of numbers below 2
    expect(largestDifference(again, unrotated)).toBeLessThan(8 * F32);
  });

  it("undo the Hadamard rotation around a turn", async () => {
    const hadamard = { key: 32, value: 0 };
    const plain = smallCache({ cells: 4, seed: 8 });
    const turned = smallCache({ cells: 4, seed: 8, layers: [smallLayer({ hadamard })] });
    for (const cache of [plain, turned]) {
      await foldWith(cache, (view) =>
        sharedPlan(view, [{ members: [0, 1, 3], position: 9 }], { keyFrame: "target" }),
      );
    }
    const [want, got] = [
      await (await plain.lease()).keys(0, "stored"),
      await (await turned.lease()).keys(0, "stored"),
    ];
    // stored in the Hadamard basis: 32 channels, each rounded once, spread over each other
    expect(largestDifference(got, want)).toBeLessThan(Math.sqrt(32) * 4 * 3 * F32);
    const raw = decodeRow("f32", turned.memory().keys[0]!, 32);
    hadamardTransform(raw, 0, 32, 32);
    expect(raw[3]).toBeCloseTo(want[3]!, 5);
  });
});
