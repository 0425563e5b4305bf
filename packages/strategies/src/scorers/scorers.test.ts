/** Scorers, on caches where the answer is plain. */
import { type CacheLease, type PlanContext, type Scorer, type Scores, throwIfAborted } from "@kvfold/core";
import { BOUNDS, expectWithin } from "@kvfold/testkit";
import { describe, expect, it } from "vitest";
import { draw, scoredOps, tinyCache, tinyContext, tinyView, zeroQueries } from "../../test/tiny.js";
import { evict } from "../evict.js";
import { frms } from "./frms.js";
import { keydiff } from "./keydiff.js";
import { knorm } from "./knorm.js";
import { max } from "./max.js";
import { recency } from "./recency.js";
import { repeat } from "./repeat.js";
import { snapkv } from "./snapkv.js";
import { surprise } from "./surprise.js";

const numbers = (scores: Scores): number[][] =>
  scores.scope === "shared" ? [[...scores.data]] : scores.layers.map((layer) => [...layer]);
const score = async (scorer: Scorer, view: CacheLease, given: Partial<PlanContext> = {}): Promise<Scores> =>
  scorer.score(view, tinyContext(view.shape.cells, given));

describe("surprise", () => {
  it("is -log p, the largest of three neighbours, unknown ones lowest", async () => {
    const tokenLogProbs = Float32Array.of(-0.5, -7, -0.25, -0.125, Number.NaN, Number.NaN, Number.NaN);
    const scores = await score(surprise(), await tinyView({ cells: 7, tokenLogProbs }));
    const { NEGATIVE_INFINITY: lowest } = Number;
    expect(numbers(scores)).toEqual([[7, 7, 7, 0.25, 0.125, lowest, lowest]]);
    expect(scores.scope).toBe("shared");
  });

  it("needs its signal", async () => {
    expect(surprise().signals).toEqual(["tokenLogProbs"]);
    const view = await tinyView({ cells: 2 });
    await expect(score(surprise(), view)).rejects.toMatchObject({ code: "KVFOLD_SIGNAL_MISSING" });
  });

  it("gives tokens that cannot be an endless surprise", async () => {
    const tokenLogProbs = Float32Array.of(0, 0, 0, Number.NEGATIVE_INFINITY);
    const scores = await score(surprise(), await tinyView({ cells: 4, tokenLogProbs }));
    expect(numbers(scores)).toEqual([[-0, -0, Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY]]);
  });
});

describe("keydiff and knorm", () => {
  /** Key of each cell: [x, y, 0, 0]. */
  const keysOf = (cells: readonly (readonly [number, number])[]): Float32Array =>
    Float32Array.from(cells.flatMap(([x, y]) => [x, y, 0, 0]));

  it("score the direction and the length of keys, per head", async () => {
    const keys = keysOf([
      [2, 0],
      [1, 0],
      [0, 3],
      [1, 0],
      [0, 1],
      [0, 1],
      [4, 0],
      [0, 1],
    ]);
    const cache = tinyCache({ cells: 4, heads: [2], keys: [keys], layer: { rope: null } });
    const lease = await cache.lease();
    const context = { ops: cache.ops };
    const lengths = await score(knorm(), lease, context);
    expect(numbers(lengths)).toEqual([[-2, -1, -3, -1, -1, -1, -4, -1]]);
    const [differences = []] = numbers(await score(keydiff(), lease, context));
    // head 0: three keys point one way, cell 2 another; head 1: cell 2 again
    expect(Math.max(...differences.slice(0, 4))).toBe(differences[2]);
    expect(Math.max(...differences.slice(4))).toBe(differences[6]);
    // cosines with the sum (3, 1) of the unit keys of head 0
    const [along, across] = [-3 / Math.sqrt(10), -1 / Math.sqrt(10)];
    const bound = BOUNDS.keyStats({ keyDim: 4, cells: 4, meanLength: Math.sqrt(10) / 4 }).meanCosine;
    expectWithin(differences.slice(0, 4), [along, along, across, along], bound, "keydiff of head 0");
  });

  it("see keys without their rotation", async () => {
    // the same content at every position: de-rotated keys are equal, so no cell stands out
    const rotated = [0, 1, 2, 3].flatMap((p) => [Math.cos(p), 0, Math.sin(p), 0]);
    const cache = tinyCache({ cells: 4, keys: [Float32Array.from(rotated)] });
    const [differences = []] = numbers(await score(keydiff(), await cache.lease(), { ops: cache.ops }));
    const bound = BOUNDS.keyStats({ keyDim: 4, cells: 4, meanLength: 1 }).meanCosine;
    expectWithin(differences, [-1, -1, -1, -1], bound, "keydiff");
  });

  it("stop when they are told to", async () => {
    const controller = new AbortController();
    let layers = 0;
    const ops: PlanContext["ops"] = {
      ...scoredOps([]),
      keyStats: async (view, layer, options) => {
        throwIfAborted(options?.signal);
        layers += 1;
        controller.abort();
        return scoredOps([[[1, 2]], [[1, 2]], [[1, 2]]]).keyStats(view, layer);
      },
    };
    const view = await tinyView({ cells: 2, heads: [1, 1, 1] });
    const scoring = score(keydiff(), view, { ops, signal: controller.signal });
    await expect(scoring).rejects.toMatchObject({ code: "KVFOLD_ABORTED" });
    expect(layers).toBe(1);
  });
});

describe("max", () => {
  const tokenLogProbs = Float32Array.of(-1, -5, -1, -1, -1, -1);

  it("takes the highest rank of any scorer, per head where one speaks per head", async () => {
    const view = await tinyView({ cells: 6, heads: [1, 1], tokenLogProbs });
    const ops = scoredOps([[[1, 2, 3, 4, 5, 60]], [[60, 5, 4, 3, 2, 1]]]);
    const scores = await score(max({ of: [keydiff(), surprise()] }), view, { ops });
    // surprise pools to 5 5 5 1 1 1: ranks .6 .6 .6 0 0 0
    const expected = [
      [0.6, 0.6, 0.6, 0.6, 0.8, 1],
      [1, 0.8, 0.6, 0.4, 0.2, 0],
    ];
    expect(numbers(scores)).toEqual(expected.map((layer) => layer.map(Math.fround)));
  });

  it("is shared when all of its scorers are", async () => {
    const view = await tinyView({ cells: 6, tokenLogProbs });
    expect((await score(max({ of: [surprise(), surprise()] }), view)).scope).toBe("shared");
  });

  it("adds signals up, nests, and needs a scorer", () => {
    const nested = max({ of: [keydiff(), max({ of: [surprise(), knorm()] })] });
    expect(nested.signals).toEqual(["tokenLogProbs"]);
    expect(nested.expression).toBe("max(keydiff,max(surprise,knorm))");
    expect(() => max()).toThrow(/expected at least one scorer/);
    expect(() => max({ of: [keydiff] as never })).toThrow(/expected a scorer/);
  });
});

describe("frms", () => {
  it("is the root mean square of what future queries pay, asked as the options say", async () => {
    const asked: unknown[] = [];
    const attention = scoredOps([], [[[1, 2]], [[3, 4]]]);
    const ops: PlanContext["ops"] = {
      ...attention,
      attend: (view, layer, options) => {
        asked.push([layer, options?.horizon, options?.maxRows]);
        return attention.attend(view, layer, options);
      },
    };
    const view = await tinyView({ cells: 2, heads: [1, 1], queries: zeroQueries(4, [1, 1]) });
    expect(numbers(await score(frms({ horizon: 64 }), view, { ops }))).toEqual([
      [1, 2],
      [3, 4],
    ]);
    expect(asked).toEqual([
      [0, 64, 4096],
      [1, 64, 4096],
    ]);
  });

  it("is equal for queries that prefer no cell", async () => {
    const cache = tinyCache({ cells: 4, heads: [2], queries: zeroQueries(8, [2]) });
    const scores = await score(frms(), await cache.lease(), { ops: cache.ops });
    expect(numbers(scores)).toEqual([new Array(8).fill(0.25)]);
  });
});

describe("snapkv", () => {
  it("asks the newest samples alone", async () => {
    const sample = zeroQueries(6, [1]);
    const rows = new Uint16Array(24);
    // the sample at position 5, which comes first, and the one at 4 know what they want; the others are turned away
    const queries = {
      ...sample,
      positions: Int32Array.of(5, 0, 1, 2, 3, 4),
      layers: [{ ...sample.layers[0]!, rows }],
    };
    let seen: unknown;
    const attention = scoredOps([], [[[0, 10, 0, 0, 0, 0]]]);
    const ops: PlanContext["ops"] = {
      ...attention,
      attend: (view, layer, options) => {
        seen = {
          positions: [...options!.queries!.positions],
          rows: [...options!.queries!.layers[0]!.rows],
          options,
        };
        return attention.attend(view, layer, options);
      },
    };
    rows.set([1, 2, 3, 4], 0);
    rows.set([5, 6, 7, 8], 20);
    const view = await tinyView({ cells: 6, queries });
    const scores = await score(snapkv({ window: 2 }), view, { ops });
    expect(seen).toMatchObject({
      positions: [4, 5],
      rows: [5, 6, 7, 8, 1, 2, 3, 4],
      options: { horizon: 2 },
    });
    // the mean is 5 at b, spread over five cells, at the ends over those that there are
    expect(numbers(scores)).toEqual([[5 / 3, 5 / 4, 1, 1, 0, 0].map(Math.fround)]);
    expect(view.signals.queries!.positions.length).toBe(6);
  });

  it("does not mix heads at their borders", async () => {
    const view = await tinyView({ cells: 3, heads: [2], queries: zeroQueries(1, [2]) });
    const ops = scoredOps(
      [],
      [
        [
          [0, 0, 6],
          [0, 0, 0],
        ],
      ],
    );
    expect(numbers(await score(snapkv(), view, { ops }))).toEqual([[1, 1, 1, 0, 0, 0]]);
  });

  it("works on a live cache, which is asked for a view that it did not make", async () => {
    const cache = tinyCache({ cells: 4, heads: [1], queries: zeroQueries(100, [1]) });
    const scores = await score(snapkv(), await cache.lease(), { ops: cache.ops });
    expect(numbers(scores)).toEqual([[0.25, 0.25, 0.25, 0.25]]);
  });
});

describe("scorers of attention", () => {
  it.each([
    ["frms", frms(), "queries"],
    ["snapkv", snapkv(), "queries"],
    ["repeat", repeat(), "repeat"],
  ])("%s needs its signal", async (who, scorer, signal) => {
    expect(scorer.signals).toEqual([signal]);
    const scoring = (async () => score(scorer, await tinyView({ cells: 2 })))();
    await expect(scoring).rejects.toMatchObject({ code: "KVFOLD_SIGNAL_MISSING", who });
  });

  it("repeat hands out what the second reading paid", async () => {
    const view = await tinyView({
      cells: 2,
      heads: [2],
      repeat: { layers: [Float32Array.of(0.5, 0.25, 0, 1)] },
    });
    expect(numbers(await score(repeat(), view))).toEqual([[0.5, 0.25, 0, 1]]);
  });

  it("recency is StreamingLLM", async () => {
    const view = await tinyView({ cells: 6 });
    expect(numbers(await score(recency(), view))).toEqual([[0, 1, 2, 3, 4, 5]]);
    const streaming = evict({ by: recency(), per: "shared", sinks: 1, recent: 0, neighbours: 0 });
    expect(draw(await streaming.plan(view, tinyContext(6, { target: 4 })))).toBe("a@0 d@3 e@4 f@5");
  });
});
