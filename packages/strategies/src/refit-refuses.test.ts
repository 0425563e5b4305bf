/** refit: caches, samples, budgets and options that it refuses, and how. */
import { fold } from "@kvfold/core";
import { describe, expect, it } from "vitest";
import { planOf } from "../test/refit-case.js";
import { type TinyOptions, tinyCache, zeroQueries } from "../test/tiny.js";
import type { RefitOptions } from "./parts/refit-options.js";
import { refit } from "./refit.js";

describe("refit refuses", () => {
  it.each<[string, Partial<TinyOptions>, object]>([
    [
      "cells of several tokens",
      { counts: new Uint32Array(14).fill(1).with(3, 2) },
      { code: "KVFOLD_NOT_APPLICABLE", hint: "use evict(per=shared)", what: /cell 3 holds 2 tokens/ },
    ],
    [
      "cells with a bias",
      { bias: new Float32Array(14).with(5, 0.5) },
      { code: "KVFOLD_NOT_APPLICABLE", what: /cell 5 has bias 0.5/ },
    ],
    ["no queries", { queries: null }, { code: "KVFOLD_SIGNAL_MISSING", what: /no signal queries/ }],
    [
      "an empty sample",
      { queries: zeroQueries(0, [2]) },
      { code: "KVFOLD_SIGNAL_MISSING", what: /sample of queries is empty/ },
    ],
    [
      "layers without queries",
      { queries: { ...zeroQueries(8, [2]), layers: [null] } },
      { code: "KVFOLD_NOT_APPLICABLE", what: /no queries of layer 0/ },
    ],
    ["no second reading", { repeat: null }, { code: "KVFOLD_SIGNAL_MISSING", what: /no signal repeat/ }],
    ["no surprise", { tokenLogProbs: null }, { code: "KVFOLD_SIGNAL_MISSING", what: /tokenLogProbs/ }],
    [
      "samples larger than maxRows",
      { queries: zeroQueries(8, [2], 200), layer: { queryHeads: 400 } },
      { code: "KVFOLD_ARGUMENT", what: /maxRows is 150, but one sample has 200 rows/ },
    ],
  ])("%s", async (_what, cache, { what, ...error }: { what?: RegExp }) => {
    const queries = "repeat" in cache ? "repeat" : "future";
    const planning = planOf({ maxRows: 150, queries }, {}, cache);
    await expect(planning).rejects.toMatchObject({ who: "refit", ...error });
    await expect(planning).rejects.toThrow(what);
  });

  it("room that sinks and newest cells leave not, with the largest ratio that works", async () => {
    const cache = tinyCache({
      cells: 20,
      heads: [2],
      queries: zeroQueries(8, [2]),
      tokenLogProbs: new Float32Array(20),
    });
    const strategy = refit({ sinks: 2, recent: 5 });
    await expect(fold(cache, { strategy, keep: { ratio: 4 } })).rejects.toMatchObject({
      code: "KVFOLD_BUDGET",
      who: "refit",
      hint: "pin fewer cells, or use a ratio of at most 2.85",
    });
    expect((await fold(cache, { strategy, keep: { ratio: 2.85 } })).after).toBe(8);
  });

  it("sliding windows, which need true positions", () => {
    const { shape } = tinyCache({ cells: 2, layer: { window: 512 } });
    expect(refit().appliesTo(shape)).toMatch(/layer 0 has a sliding window.*evict\(per=shared\)/);
  });

  it.each<[Partial<RefitOptions>, RegExp]>([
    [{ sharedPins: 0.7, headPins: 0.4 }, /headPins is 0.4: with sharedPins it is more than 1/],
    [{ sharedPins: -0.1 }, /sharedPins is -0.1: expected at least 0/],
    [{ lambda: 0 }, /lambda is 0: expected more than 0/],
    [{ lambda: Number.NaN }, /lambda is NaN/],
    [{ holdout: 1 }, /holdout is 1: expected at least 2/],
    [{ maxRows: 0 }, /maxRows is 0: expected at least 1/],
    [{ horizon: 7919 }, /horizon is 7919: expected at most 4096/],
    [{ queries: "past" as never }, /expected future or repeat/],
    [{ fit: "no" as never }, /expected true or false/],
  ])("%o", (options, message) => {
    expect(() => refit(options)).toThrow(message);
  });
});
