/** evict: who stays, per head and shared, and whom it refuses. */
import { defineScorer, fold, type MergePlan, PIN_LEVEL, type PlanContext, type Scores } from "@kvfold/core";
import { describe, expect, it } from "vitest";
import { draw, pinsOf, scoredOps, type TinyOptions, tinyCache, tinyContext, tinyView } from "../test/tiny.js";
import { type EvictOptions, evict } from "./evict.js";
import { surprise } from "./scorers/surprise.js";

const bare = { sinks: 0, recent: 0, neighbours: 0 };

async function planOf(
  scores: readonly (readonly (readonly number[])[])[],
  options: Partial<EvictOptions>,
  given: Partial<PlanContext>,
  cache: Partial<TinyOptions> = {},
): Promise<MergePlan> {
  const cells = scores[0]![0]!.length;
  const view = await tinyView({ cells, heads: scores.map((layer) => layer.length), ...cache });
  return evict(options).plan(view, tinyContext(cells, { ops: scoredOps(scores), ...given }));
}

describe("evict per head", () => {
  it("lets every head of every layer keep its own cells, besides sinks and newest", async () => {
    const scores = [
      [
        [0, 1, 9, 2, 5, 8, 0, 0],
        [0, 9, 1, 2, 8, 5, 0, 0],
      ],
      [[0, 5, 5, 9, 1, 1, 0, 0]],
    ];
    const made = await planOf(scores, { ...bare, sinks: 1, recent: 2 }, { target: 5 });
    // the head that layer 1 lacks repeats its head 0
    expect(draw(made)).toBe("acfgh abegh abdgh abdgh");
    expect(made.layout).toBe("composite");
    // dense up to the newest position
    expect([...made.positions]).toEqual([3, 4, 5, 6, 7]);
    expect(made.dropped).toBe(3);
    expect([...made.pins!]).toEqual([3, 0, 0, 0, 0, 0, 3, 3]);
  });

  it("prefers the older of equal cells, and any number to none", async () => {
    expect(draw(await planOf([[[5, 5, 5, 5, 0]]], bare, { target: 3 }))).toBe("abe");
    expect(draw(await planOf([[[Number.NaN, -7, Number.NaN, -8, 0]]], bare, { target: 4 }))).toBe("abde");
  });

  it("keeps a needle of several tokens whole, for the sake of its best one", async () => {
    const scores = [[[0, 1, 2, 1, 0, 0, 9, 0, 0, 3, 0, 0]]];
    expect(draw(await planOf(scores, { ...bare, neighbours: 1 }, { target: 4 }))).toBe("fghl");
    expect(draw(await planOf(scores, { ...bare, neighbours: 2 }, { target: 6 }))).toBe("efghil");
    expect(draw(await planOf(scores, bare, { target: 4 }))).toBe("cgjl");
  });

  it("always keeps the newest cell", async () => {
    expect(draw(await planOf([[[9, 8, 7, 0]]], bare, { target: 2 }))).toBe("ad");
    expect(draw(await planOf([[[9, 8, 7, 0]]], bare, { target: 1 }))).toBe("d");
  });

  it("lets only cells of the range compete", async () => {
    const made = await planOf([[[0, 0, 1, 9, 2, 9, 9, 9]]], bare, { target: 5, range: { from: 2, to: 6 } });
    expect(draw(made)).toBe("abdgh");
  });

  it("puts pinned cells into the same row of every head", async () => {
    const scores = [
      [
        [9, 8, 0, 0, 1, 0],
        [1, 0, 0, 9, 8, 0],
      ],
    ];
    const made = await planOf(scores, { ...bare, recent: 1 }, { target: 4, pins: pinsOf("0 0 1 0 0 0") });
    expect(draw(made)).toBe("cabf cdef");
    expect([...made.pins!]).toEqual([0, 0, PIN_LEVEL.absorb, 0, 0, PIN_LEVEL.exact]);
  });

  it.each([
    ["of several tokens", { counts: Uint32Array.of(1, 2, 1, 1) }, /cell 1 holds 2 tokens/],
    ["with a bias", { bias: Float32Array.of(0, 0, 0.5, 0) }, /cell 2 has bias 0.5/],
  ])("refuses cells %s", async (_what, cache, message) => {
    const planning = planOf([[[1, 2, 3, 4]]], bare, { target: 2 }, cache);
    await expect(planning).rejects.toThrow(message);
    await expect(planning).rejects.toMatchObject({ code: "KVFOLD_NOT_APPLICABLE", hint: "use per=shared" });
    expect(draw(await planOf([[[1, 2, 3, 4]]], { ...bare, per: "shared" }, { target: 2 }, cache))).toBe(
      "c@2 d@3",
    );
  });

  it("does not apply to sliding windows, which need true positions", async () => {
    const { shape } = tinyCache({ cells: 2, layer: { window: 512 } });
    expect(evict().appliesTo(shape)).toMatch(/layer 0 has a sliding window.*per=shared/);
    expect(evict({ per: "shared" }).appliesTo(shape)).toBe(true);
  });

  it("folds a cache that it folded before", async () => {
    const cache = tinyCache({ cells: 12, heads: [2, 2] });
    const strategy = evict({ sinks: 1, recent: 2 });
    await fold(cache, { strategy, keep: { cells: 8 } });
    const report = await fold(cache, { strategy, keep: { cells: 5 } });
    expect(report).toMatchObject({ before: 8, after: 5, changed: true });
    expect([...cache.memory().positions]).toEqual([7, 8, 9, 10, 11]);
  });
});

describe("evict shared", () => {
  const shared = { ...bare, per: "shared" } as const;

  it("keeps the same cells in all heads, at their true positions", async () => {
    const made = await planOf(
      [[[0, 1, 9, 2, 5, 8, 0, 0]]],
      { ...bare, per: "shared", sinks: 1, recent: 2 },
      { target: 5 },
    );
    expect(draw(made)).toBe("a@0 c@2 f@5 g@6 h@7");
    expect(made).toMatchObject({ layout: "shared", keyFrame: "stored", dropped: 3 });
    expect([...made.pins!]).toEqual([3, 0, 0, 0, 0, 0, 3, 3]);
  });

  it("takes the union of what heads rank highest, whatever their units", async () => {
    const scores = [
      // ranks among the cells that compete (all but the newest): 1 .75 .5 .25 0
      [[1000, 900, 800, 700, 600, 0]],
      // ranks 0 .25 .5 .75 1
      [[0.1, 0.2, 0.3, 0.4, 0.5, 0]],
    ];
    expect(draw(await planOf(scores, shared, { target: 3 }))).toBe("a@0 e@4 f@5");
    expect(draw(await planOf(scores, shared, { target: 5 }))).toBe("a@0 b@1 d@3 e@4 f@5");
  });

  it("ranks within the range, so that cells outside do not push others aside", async () => {
    const scores = [[[99, 98, 3, 1, 2, 0]], [[0, 0, 0, 2, 1, 0]]];
    // ranks of c d e: head 0: 1 0 .5, head 1: 0 1 .5
    expect(draw(await planOf(scores, shared, { target: 5, range: { from: 2, to: 6 } }))).toBe(
      "a@0 b@1 c@2 d@3 f@5",
    );
  });

  it("reads scores that all heads share", async () => {
    const cells = 5;
    const tokenLogProbs = Float32Array.of(-0.1, -0.1, -0.1, -9, Number.NaN);
    const view = await tinyView({ cells, heads: [2, 2], tokenLogProbs });
    const made = await evict({ ...shared, by: surprise() }).plan(view, tinyContext(cells, { target: 3 }));
    // d and its neighbours c and e
    expect(draw(made)).toBe("c@2 d@3 e@4");
  });
});

describe("evict", () => {
  it("is the identity when nothing has to go, or nothing may", async () => {
    const scores = [[[1, 2, 3, 4]]];
    expect(draw(await planOf(scores, bare, { target: 4 }))).toBe("a@0 b@1 c@2 d@3");
    expect(draw(await planOf(scores, { sinks: 2, recent: 128 }, { target: 2 }))).toBe("a@0 b@1 c@2 d@3");
    expect(draw(await planOf(scores, bare, { target: 3, range: { from: 2, to: 2 } }))).toBe(
      "a@0 b@1 c@2 d@3",
    );
  });

  it("names the largest ratio when sinks and newest alone exceed the target", async () => {
    const cache = tinyCache({ cells: 20, heads: [2] });
    const folding = fold(cache, { strategy: evict({ sinks: 2, recent: 5 }), keep: { ratio: 4 } });
    await expect(folding).rejects.toMatchObject({
      code: "KVFOLD_BUDGET",
      who: "evict",
      what: "7 cells are pinned or lie outside the range, but only 5 may stay",
      hint: "pin fewer cells, or use a ratio of at most 2.85",
    });
    expect(
      (await fold(cache, { strategy: evict({ sinks: 2, recent: 5 }), keep: { ratio: 2.85 } })).after,
    ).toBe(8);
  });

  it("is written with scorer and scope, whatever the defaults", () => {
    expect(evict().expression).toBe("evict(by=keydiff,per=head)");
    expect(evict({ per: "shared", recent: 64 }).expression).toBe("evict(by=keydiff,per=shared,recent=64)");
    expect(evict({ by: surprise() }).signals).toEqual(["tokenLogProbs"]);
    expect(evict().scope).toBe("all");
    expect(() => evict({ by: "keydiff" as never })).toThrow(
      /option by is "keydiff": expected a scorer, such as keydiff\(\)/,
    );
  });

  it.each<[string, unknown]>([
    ["nothing", undefined],
    ["too few shared scores", { scope: "shared", data: new Float32Array(3) }],
    ["plain numbers", { scope: "shared", data: [1, 2, 3, 4] }],
    ["too few layers", { scope: "head", layers: [new Float32Array(4)] }],
    ["too few heads", { scope: "head", layers: [new Float32Array(4), new Float32Array(4)] }],
  ])("names a scorer that gives %s", async (_what, scores) => {
    const broken = defineScorer({
      name: "broken",
      summary: "",
      create: () => ({ score: () => scores as Scores }),
    });
    const strategy = evict({ by: broken(), ...bare });
    const folding = fold(tinyCache({ cells: 4, heads: [1, 2] }), { strategy, keep: { ratio: 2 } });
    await expect(folding).rejects.toMatchObject({ code: "KVFOLD_STRATEGY" });
  });
});
