/** Caches of one maker are equal, and no write to one reaches another. */
import { expect, it } from "vitest";
import { fakeCacheMaker, fakeMemoryCache } from "./fake-cache.js";
import { firstDifference } from "./read-rows.js";

const OPTIONS = { cells: 12, keyType: "q8_0", folded: true, needles: [3] } as const;

it("makes caches as fakeMemoryCache does, which share nothing", async () => {
  const make = fakeCacheMaker(5, OPTIONS);
  const spoilt = make();
  const lease = await spoilt.lease();
  const { queries, repeat } = lease.signals;
  for (const buffer of [...spoilt.memory().keys, ...spoilt.memory().values]) buffer.fill(0);
  for (const layer of queries!.layers) layer!.rows.fill(0);
  for (const weights of repeat!.layers) weights!.fill(0);
  queries!.positions.fill(0);
  const [fresh, alone] = [make(), fakeMemoryCache(5, OPTIONS)];
  expect(firstDifference(fresh.memory(), spoilt.memory())).not.toBeNull();
  expect(firstDifference(fresh.memory(), alone.memory())).toBeNull();
  const [own, expected] = [await fresh.lease(), await alone.lease()];
  for (const name of ["signals", "positions", "counts", "bias", "tokens"] as const)
    expect(own[name]).toEqual(expected[name]);
  expect(own.sources(0)).toEqual(expected.sources(0));
});
