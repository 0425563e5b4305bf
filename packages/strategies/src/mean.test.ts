/** mean: sum divided by the number of cells. */
import { fold, type SharedPlan } from "@kvfold/core";
import { expect, it } from "vitest";
import { draw, tinyCache, tinyContext, tinyView } from "../test/tiny.js";
import { mean } from "./mean.js";

it("gives every cell of a group the same share", async () => {
  const view = await tinyView({ cells: 5, counts: Uint32Array.of(1, 3, 1, 1, 1) });
  const made = (await mean().plan(view, tinyContext(5, { ratio: 2 }))) as SharedPlan;
  expect(draw(made)).toBe("[ab]@0 [cd]@1 e@2");
  // cells count, not the tokens inside them
  expect([...made.keyWeights.data]).toEqual([0.5, 0.5, 0.5, 0.5, 1]);
  expect([...made.valueWeights.data]).toEqual([0.5, 0.5, 0.5, 0.5, 1]);
  expect([...made.counts]).toEqual([4, 2, 1]);
});

it("puts the mean of the values into the cache", async () => {
  const cache = tinyCache({ cells: 5 });
  await fold(cache, { strategy: mean(), keep: { ratio: 2 } });
  const values = await (await cache.lease()).values(0);
  expect([values[0], values[4], values[8]]).toEqual([0.5, 2.5, 4]);
});
