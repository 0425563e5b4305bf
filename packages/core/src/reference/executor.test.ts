/** What the reference executor promises about bytes. */
import { describe, expect, it } from "vitest";
import { foldWith, LAYER_KINDS } from "../../test/layer-kinds.js";
import { smallCache, smallLayer, snapshot } from "../../test/small-cache.js";
import { sharedPlan } from "../plan/builder.js";
import { compositePlan, identityPlan, keepPlan } from "../plan/keep.js";

describe("bytes", () => {
  it.each(LAYER_KINDS)("%s: the identity changes none", async (_name, change) => {
    const cache = smallCache({ layers: [smallLayer(change), smallLayer({ ...change, kvHeads: 1 })] });
    const before = snapshot(cache);
    await foldWith(cache, identityPlan);
    expect(snapshot(cache)).toEqual(before);
  });

  it.each(LAYER_KINDS)("%s: kept cells are copied, not stored again", async (_name, change) => {
    const cache = smallCache({ layers: [smallLayer(change)], seed: 4 });
    const before = await cache.lease();
    const [keys, values] = [await before.keys(0, "stored"), await before.values(0)];
    before.release();
    await foldWith(cache, (view) => keepPlan(view, [1, 4, 7], { positions: "dense" }));
    const after = await cache.lease();
    const { kvHeads, keyDim, valueDim } = after.shape.layers[0]!;
    const pick = (from: Float32Array, dim: number): number[] =>
      Array.from({ length: kvHeads }, (_, head) =>
        [1, 4, 7].flatMap((cell) => [...from.subarray((head * 8 + cell) * dim, (head * 8 + cell + 1) * dim)]),
      ).flat();
    expect([...(await after.keys(0, "stored"))]).toEqual(pick(keys, keyDim));
    expect([...(await after.values(0))]).toEqual(pick(values, valueDim));
    expect(after.sources(0)?.subarray(0, 3)).toEqual(Int32Array.of(1, 4, 7));
  });

  it.each(LAYER_KINDS)("%s: composite rows take each head from its own cell", async (_name, change) => {
    const layers = [smallLayer({ ...change, kvHeads: 2, queryHeads: 2 })];
    const cache = smallCache({ layers, seed: 5 });
    const before = await cache.lease();
    const keys = await before.keys(0, "stored");
    const { keyDim } = layers[0]!;
    await cache.apply(before, compositePlan(before, Uint32Array.of(0, 6, 3, 7)));
    before.release();
    const after = await cache.lease();
    const cut = (head: number, cell: number): Float32Array =>
      keys.subarray((head * 8 + cell) * keyDim, (head * 8 + cell + 1) * keyDim);
    expect(Buffer.from((await after.keys(0, "stored")).buffer)).toEqual(
      Buffer.concat(
        [cut(0, 0), cut(0, 6), cut(1, 3), cut(1, 7)].map((part) => Buffer.from(part.slice().buffer)),
      ),
    );
    expect(after.sources(0)).toEqual(Int32Array.of(0, 6, 3, 7));
  });

  it("outside the destinations stay as they were", async () => {
    const layers = [smallLayer({ keyType: "f16", valueType: "f16", valueLayout: "transposed" })];
    const slots = Uint32Array.of(9, 3, 12, 5, 0, 7, 1, 14);
    const cache = smallCache({ layers, slots, reserved: Uint32Array.of(2, 4) });
    const before = snapshot(cache);
    await foldWith(cache, (view) =>
      sharedPlan(view, [
        { members: [0, 1, 2], position: 2 },
        { members: [7], position: 7 },
      ]),
    );
    expect(cache.memory().slots).toEqual(Uint32Array.of(0, 1));
    const [keys, values] = snapshot(cache);
    const row = 2 * 32 * 2;
    expect(keys!.subarray(2 * row)).toEqual(before[0]!.subarray(2 * row));
    const changed = new Set<number>();
    values!.forEach((byte, i) => {
      if (byte !== before[1]![i]) changed.add(Math.floor(i / 2) % 16);
    });
    expect([...changed].sort()).toEqual([0, 1]);
  });
});
