/** Which rows are free: those that may change, in their rows, and never more than the queries bear. */
import { checkPlan, compositePlan } from "@kvfold/core";
import fc from "fast-check";
import { expect, it } from "vitest";
import { tinyView, zeroQueries } from "../../test/tiny.js";
import { union, without } from "./cells.js";
import { fairHoldout, freeRows } from "./fit-request.js";

const SEED = 20240501;

it("finds a holdout that all heads of every group judge", () => {
  expect(fairHoldout(5, [1, 3, 4])).toBe(5);
  expect(fairHoldout(5, [5])).toBe(6);
  expect(fairHoldout(4, [2, 3])).toBe(5);
  expect(fairHoldout(2, [6, 35])).toBe(11);
});

const cells = fc.integer({ min: 2, max: 20 });
const situation = cells.chain((count) =>
  fc.record({
    count: fc.constant(count),
    order: fc.array(fc.nat(1000), { minLength: 2 * count, maxLength: 2 * count }),
    rows: fc.integer({ min: 1, max: count }),
    free: fc.nat(count),
    samples: fc.integer({ min: 1, max: 120 }),
    holdout: fc.integer({ min: 2, max: 7 }),
    stiffness: fc.constantFrom(0, 1, 10),
  }),
);

it("frees the allowed cells that are worth most, as many as a plan may", async () => {
  await fc.assert(
    fc.asyncProperty(situation, async ({ count, order, rows, free, samples, holdout, stiffness }) => {
      const worth = (_layer: number, head: number): Float32Array =>
        Float32Array.from(order.slice(head * count, (head + 1) * count));
      const kept = [0, 1].map((head) => {
        const byWorth = [...worth(0, head).keys()].sort(
          (a, b) => order[head * count + a]! - order[head * count + b]!,
        );
        return Uint32Array.from(byWorth.slice(0, rows)).sort();
      });
      const own = [kept.map((all) => all.slice(0, free))];
      const stiff = [own[0]!.map((all) => all.filter((cell) => cell % 3 === 0))];
      const may = own[0]!.map((all) => (stiffness === 0 ? all.filter((cell) => cell % 3 !== 0) : all));
      const queries = zeroQueries(samples, [2]);
      const view = await tinyView({ cells: count, heads: [2], queries });
      const members = Uint32Array.from(kept.flatMap((all) => [...all]));
      const mask = freeRows(view.shape, {
        members,
        everywhere: new Uint32Array(0),
        own,
        stiff,
        stiffness,
        worth,
        queryRows: [samples],
        holdout,
      });
      const judging = Math.floor(samples / holdout);
      const most = judging === 0 ? 0 : Math.floor((samples - judging) / 4);
      if (mask === null) {
        expect(most === 0 || may.every((cells) => cells.length === 0)).toBe(true);
        return;
      }
      kept.forEach((all, head) => {
        const factors = mask.subarray(head * rows, (head + 1) * rows);
        const solved = all.filter((_, row) => factors[row] !== 0);
        expect(solved.length).toBe(Math.min(most, may[head]!.length));
        const left = without(may[head]!, solved);
        expect(solved.every((cell) => may[head]!.includes(cell))).toBe(true);
        const stands = (cell: number): boolean => stiff[0]![head]!.includes(cell);
        all.forEach((cell, row) => {
          if (factors[row] !== 0) expect(factors[row]).toBe(stands(cell) ? stiffness : 1);
        });
        const least = Math.min(...[...solved].map((cell) => worth(0, head)[cell]!));
        for (const cell of left) expect(worth(0, head)[cell]).toBeLessThanOrEqual(least);
      });
      const fit = { method: "ridge", lambda: 0.01, free: mask, queries: queries.hash, horizon: 512 } as const;
      const plan = compositePlan(view, members, { fit: { ...fit, maxRows: samples, holdout } });
      checkPlan(plan, view);
    }),
    { seed: SEED, numRuns: 300 },
  );
});

it("adds and takes away sets of cells", () => {
  const sets = fc.uniqueArray(fc.nat(40)).map((all) => Uint32Array.from(all).sort());
  fc.assert(
    fc.property(sets, sets, (a, b) => {
      const rest = without(a, b);
      expect([...rest]).toEqual([...a].filter((cell) => !b.includes(cell)));
      expect([...union(rest, b)]).toEqual([...new Set([...a, ...b])].sort((x, y) => x - y));
    }),
    { seed: SEED },
  );
});
