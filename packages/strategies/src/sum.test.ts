/** sum, and with it the grouper that all strategies of PR 5719 share. */
import { fold, PIN_LEVEL, type SharedPlan } from "@kvfold/core";
import { describe, expect, it } from "vitest";
import { draw, pinsOf, tinyCache, tinyContext, tinyView } from "../test/tiny.js";
import { sum } from "./sum.js";

const plan = async (cells: number, given: Parameters<typeof tinyContext>[1]): Promise<SharedPlan> =>
  (await sum().plan(await tinyView({ cells }), tinyContext(cells, given))) as SharedPlan;

describe("sum", () => {
  it("adds up the cells that share floor(p / N), turned to that position", async () => {
    const made = await plan(7, { ratio: 3 });
    expect(draw(made)).toBe("[abc]@0 [def]@1 g@2");
    expect(made.keyFrame).toBe("target");
    expect([...made.keyWeights.data, ...made.valueWeights.data]).toEqual(Array(14).fill(1));
    expect(made.bias).toBeNull();
    expect([...made.counts]).toEqual([3, 3, 1]);
  });

  it("counts from the first position of the range, and keeps what lies outside", async () => {
    expect(draw(await plan(10, { ratio: 2, target: 7, range: { from: 4, to: 10 } }))).toBe(
      "a@0 b@1 c@2 d@3 [ef]@4 [gh]@5 [ij]@6",
    );
    expect(draw(await plan(6, { ratio: 2, target: 4, range: { from: 0, to: 4 } }))).toBe(
      "[ab]@0 [cd]@1 e@4 f@5",
    );
  });

  it("takes ratios between whole numbers", async () => {
    expect(draw(await plan(9, { ratio: 2.5 }))).toBe("[abc]@0 [de]@1 [fgh]@2 i@3");
  });

  it("leaves pinned cells alone, and makes room for them", async () => {
    // 2 of 4 rows are pins: the six others have to go into two
    expect(draw(await plan(8, { ratio: 2, pins: pinsOf("3 0 0 0 0 0 0 2") }))).toBe(
      "a@0 [bcd]@0 [efg]@1 h@7",
    );
  });

  it("keeps a row for each cell that absorbs, and lets it take others in", async () => {
    const { none, absorb } = PIN_LEVEL;
    const pins = Uint8Array.of(absorb, none, none, absorb, none, none, none, none);
    expect(draw(await plan(8, { ratio: 4, target: 3, pins }))).toBe("[abc]@0 d@0 [efgh]@1");
  });

  it("counts a row for each cell that absorbs when it makes room", async () => {
    // factor 2 would leave a b [cd] [ef] [gh]: one row too many
    expect(draw(await plan(8, { ratio: 2, pins: pinsOf("1 1 0 0 0 0 0 0") }))).toBe("a@0 [bcd]@0 [efgh]@1");
  });

  it("squeezes harder where positions have gaps", async () => {
    const positions = Int32Array.of(0, 10, 20, 30);
    const made = await sum().plan(await tinyView({ cells: 4, positions }), tinyContext(4, { ratio: 2 }));
    // 31 positions into 2 rows: factor 16
    expect(draw(made)).toBe("[ab]@0 [cd]@1");
  });

  it("is the identity when nothing has to go", async () => {
    expect(draw(await plan(3, { ratio: 1 }))).toBe("a@0 b@1 c@2");
  });

  it("refuses to turn cells that must stay and hold keys of other positions", async () => {
    const view = await tinyView({ cells: 4, heads: [2], sources: [Int32Array.of(0, 1, 2, 3, 0, 1, 2, 9)] });
    const context = tinyContext(4, { ratio: 2, range: { from: 0, to: 3 }, target: 3 });
    expect(() => sum().plan(view, context)).toThrow(
      expect.objectContaining({ code: "KVFOLD_NOT_APPLICABLE", who: "sum" }),
    );
    expect(draw(await sum().plan(view, tinyContext(4, { ratio: 2 })))).toBe("[ab]@0 [cd]@1");
  });

  it("puts the sum of the values into the cache", async () => {
    const cache = tinyCache({ cells: 5 });
    const report = await fold(cache, { strategy: sum(), keep: { ratio: 2 } });
    expect(report).toMatchObject({ before: 5, after: 3, changed: true });
    const values = await (await cache.lease()).values(0);
    // channel 0 of the cells is 0 1 2 3 4
    expect([values[0], values[4], values[8]]).toEqual([1, 5, 4]);
  });

  it("goes on squeezing new cells, fold after fold", async () => {
    expect(sum().scope).toBe("new");
    const view = await tinyView({
      cells: 6,
      positions: Int32Array.of(0, 1, 2, 3, 4, 5),
      bias: Float32Array.of(1, 0, 0, 1, 0, 0),
    });
    const made = await sum().plan(view, tinyContext(6, { ratio: 2, range: { from: 2, to: 6 }, target: 4 }));
    expect(draw(made)).toBe("a@0 b@1 [cd]@2 [ef]@3");
    // a kept cell keeps its bias, a merged one has none
    expect([...made.bias!]).toEqual([1, 0, 0, 0]);
  });
});
