/** The summary of fits, and that `fold` reports it. */
import { expect, it } from "vitest";
import { fitOf, randomSample } from "../test/fits.js";
import { strategyOf } from "../test/fold-probe.js";
import { smallCache, smallLayer } from "../test/small-cache.js";
import { summariseFits } from "./fits.js";
import { fold } from "./fold.js";
import { keepPlan } from "./plan/keep.js";

it("is the mean over the heads that had something to solve for", () => {
  const fits = [
    { layer: 0, head: 0, before: 0.5, after: 0.1, accepted: true },
    { layer: 0, head: 1, before: Number.NaN, after: Number.NaN, accepted: false },
    { layer: 1, head: 0, before: 0.25, after: 0.25, accepted: false },
  ];
  expect(summariseFits(fits)).toEqual({ heads: 2, accepted: 1, before: 0.375, after: 0.175 });
});

it("is null without a fit, or with nothing to solve for", () => {
  const nothing = [{ layer: 0, head: 1, before: Number.NaN, after: Number.NaN, accepted: false }];
  for (const fits of [null, undefined, [], nothing]) expect(summariseFits(fits)).toBeNull();
});

it("is in the report of a fold", async () => {
  const queries = randomSample({ layers: [smallLayer()], cells: 8 }, 40);
  const fitting = strategyOf(
    (view) => {
      const free = Uint8Array.of(0, 1, 1, 0, 0, 1, 1, 0);
      return keepPlan(view, [0, 2, 5, 7], { fit: fitOf({ free, queries: view.signals.queries!.hash }) });
    },
    { signals: ["queries"] },
  );
  const cache = smallCache({ queries });
  const planned = await fold(cache, { strategy: fitting, keep: { ratio: 2 }, dryRun: true });
  expect(planned.fits).toBeNull();
  const { fits } = await fold(cache, { strategy: fitting, keep: { ratio: 2 } });
  expect([fits!.heads, fits!.accepted]).toEqual([2, 2]);
  expect(fits!.after).toBeLessThan(fits!.before);
  const without = fold(smallCache({}), { strategy: fitting, keep: { ratio: 2 } });
  await expect(without).rejects.toMatchObject({ code: "KVFOLD_SIGNAL_MISSING" });
  const plain = strategyOf((view) => keepPlan(view, [0, 7]));
  expect((await fold(smallCache({}), { strategy: plain, keep: { ratio: 4 } })).fits).toBeNull();
});
