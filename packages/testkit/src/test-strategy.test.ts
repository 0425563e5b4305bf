/** Honest strategies pass the suite, and strategies with planted faults are caught. */
import {
  type CacheView,
  defineStrategy,
  isKvfoldError,
  KvfoldError,
  keepPlan,
  type MergePlan,
  type MergeStrategy,
  type PlanContext,
  sharedPlan,
} from "@kvfold/core";
import { describe, expect, it } from "vitest";
import {
  checkAbort,
  checkImpossiblePins,
  checkPlanFits,
  checkRepeatable,
  checkUntouched,
  planOn,
  planOrRefusal,
} from "./strategy-checks.js";
import { testStrategy } from "./test-strategy.js";

type Plan = (view: CacheView, context: PlanContext) => MergePlan | Promise<MergePlan>;
const strategy = (plan: Plan): MergeStrategy =>
  defineStrategy({ name: "planted", summary: "A strategy with one fault.", create: () => ({ plan }) })();

/** Keeps what must stay, and of the rest what comes last. */
function keepLast(view: CacheView, context: PlanContext): number[] {
  const { from, to } = context.range;
  const cells = Array.from({ length: view.shape.cells }, (_, cell) => cell);
  const forced = cells.filter((cell) => cell < from || cell >= to || (context.pins?.[cell] ?? 0) > 0);
  const free = cells.filter((cell) => !forced.includes(cell));
  const room = context.target - forced.length;
  if (room < 0)
    throw new KvfoldError("KVFOLD_BUDGET", `${forced.length} cells must stay, ${context.target} may`);
  return [...forced, ...free.slice(free.length - room)].sort((a, b) => a - b);
}
const keep: Plan = (view, context) => keepPlan(view, keepLast(view, context), { pins: context.pins });

/** Merges pairs of free neighbours from the left until the target is met, or no pair is left. */
const pairs: Plan = (view, { range, pins, target }) => {
  const rows: {
    members: number[];
    position: number;
    bias?: number;
    keyWeights?: number[];
    valueWeights?: number[];
  }[] = [];
  let left = view.shape.cells - target;
  const isFree = (cell: number): boolean => cell >= range.from && cell < range.to && !pins?.[cell];
  for (let cell = 0; cell < view.shape.cells; cell++) {
    if (left > 0 && cell + 1 < view.shape.cells && isFree(cell) && isFree(cell + 1)) {
      const half = [0.5, 0.5];
      const bias = Math.log(view.counts[cell]! + view.counts[cell + 1]!);
      rows.push({
        members: [cell, cell + 1],
        position: view.positions[cell + 1]!,
        bias,
        keyWeights: half,
        valueWeights: half,
      });
      cell += 1;
      left -= 1;
    } else rows.push({ members: [cell], position: view.positions[cell]! });
  }
  return sharedPlan(view, rows, { pins });
};

testStrategy("keeps the last cells", () => strategy(keep));
testStrategy("merges pairs", () => strategy(pairs), { mayMissTarget: "pairs halve the cache at most" });

const cache = { cells: 32 } as const;
const pinned = (): Uint8Array => Uint8Array.from({ length: 32 }, (_, cell) => (cell < 2 ? 3 : 0));

describe("a refusal", () => {
  const refusing = (code: "KVFOLD_BUDGET" | "KVFOLD_NOT_APPLICABLE"): MergeStrategy =>
    strategy(() => {
      throw new KvfoldError(code, "not this one");
    });

  it("is allowed where the cache is tiny, or in a state that its shape does not tell", async () => {
    const tiny = { name: "tiny", cache: { cells: 2 }, tiny: true };
    const folded = { name: "folded", cache: { cells: 32, folded: true } };
    expect(await planOrRefusal(refusing("KVFOLD_BUDGET"), tiny, { ratio: 2 })).toBe("not this one");
    expect(await planOrRefusal(refusing("KVFOLD_NOT_APPLICABLE"), folded, { ratio: 2 })).toBe("not this one");
    const keepAll = strategy((view) => keepPlan(view, [...view.positions.keys()]));
    expect(await planOrRefusal(keepAll, tiny, { ratio: 2 })).toBe("all 2 cells stay");
  });

  it("is not allowed on an ordinary cache", async () => {
    const ordinary = { name: "ordinary", cache };
    for (const code of ["KVFOLD_BUDGET", "KVFOLD_NOT_APPLICABLE"] as const) {
      await expect(planOrRefusal(refusing(code), ordinary, { ratio: 2 })).rejects.toThrow(/not this one/);
    }
    const keepAll = strategy((view) => keepPlan(view, [...view.positions.keys()]));
    expect(await planOrRefusal(keepAll, ordinary, { ratio: 2 })).toMatchObject({ plan: { rows: 32 } });
  });
});

describe("a planted strategy is caught when it", () => {
  it("keeps more than it may", async () => {
    const greedy = strategy((view) => keepPlan(view, [...view.positions.keys()].slice(4)));
    const result = await planOn(greedy, cache, { ratio: 4 });
    expect(() => checkPlanFits(result, false)).toThrow(/size: 28 rows, but 8 may stay/);
    expect(() => checkPlanFits(result, true)).not.toThrow();
  });

  it("loses a token", async () => {
    const careless = strategy((view, context) => ({
      ...keepPlan(view, keepLast(view, context)),
      dropped: 0,
    }));
    const result = await planOn(careless, cache, { ratio: 4 });
    expect(() => checkPlanFits(result, false)).toThrow(
      expect.objectContaining({ code: "KVFOLD_PLAN_COUNTS" }),
    );
  });

  it("changes a cache that is small enough", async () => {
    const eager = strategy((view) => keepPlan(view, [...view.positions.keys()].slice(1)));
    const result = await planOn(eager, cache, { ratio: 1 });
    expect(() => checkPlanFits(result, false)).toThrow(/the plan changes it/);
  });

  it("drops a pin, or a cell outside the range", async () => {
    const blind = strategy((view, context) =>
      keepPlan(view, [...view.positions.keys()].slice(-context.target)),
    );
    const pins = await planOn(blind, cache, { ratio: 4, pins: pinned() });
    expect(() => checkUntouched(pins)).toThrow(/cell 0 is pinned/);
    const range = await planOn(blind, cache, { ratio: 2, range: { from: 3, to: 32 } });
    expect(() => checkUntouched(range)).toThrow(/cell 0/);
    await expect(checkImpossiblePins(blind, cache)).rejects.toThrow(/pinned/);
  });

  it("merges a cell that is pinned exact", async () => {
    const half = { keyWeights: [0.5, 0.5], valueWeights: [0.5, 0.5] };
    const merging = strategy((view) =>
      sharedPlan(view, [
        { members: [0, 1], position: 1, ...half },
        { members: [31], position: 31 },
      ]),
    );
    const result = await planOn(merging, cache, { ratio: 4, pins: pinned() });
    expect(() => checkUntouched(result)).toThrow(expect.objectContaining({ code: "KVFOLD_PLAN_PIN" }));
  });

  it("rolls dice of its own", async () => {
    const dicing = (): MergeStrategy =>
      strategy((view, { target }) => {
        const order = [...view.positions.keys()]
          .map((cell) => [Math.random(), cell] as const)
          .sort((a, b) => a[0] - b[0]);
        return keepPlan(
          view,
          order
            .slice(0, target)
            .map(([, cell]) => cell)
            .sort((a, b) => a - b),
        );
      });
    await expect(checkRepeatable(dicing, cache, { ratio: 2 })).rejects.toThrow(/two plans for one seed/);
  });

  it("remembers the plan before", async () => {
    const remembering = (): MergeStrategy => {
      let calls = 0;
      return strategy((view, { target }) =>
        keepPlan(view, [...view.positions.keys()].slice(calls++, target + calls - 1)),
      );
    };
    await expect(checkRepeatable(remembering, cache, { ratio: 2 })).rejects.toThrow(/two plans for one seed/);
  });

  it("writes to the view, the keys or the pins", async () => {
    const writers: readonly [RegExp, Plan][] = [
      [/positions/, (view, context) => keep({ ...view, positions: view.positions.fill(0) }, context)],
      [
        /unrotated keys of layer 1/,
        async (view, context) => {
          (await view.keys(1, "unrotated")).reverse();
          return keep(view, context);
        },
      ],
      [/pins/, (view, context) => keep(view, { ...context, pins: context.pins!.fill(1) })],
    ];
    for (const [what, plan] of writers) {
      const failure = await planOn(strategy(plan), cache, { ratio: 1, pins: pinned() }).catch(
        (error: Error) => error,
      );
      expect(String(failure)).toMatch(what);
    }
  });

  it("works on after an abort", async () => {
    const stubborn = strategy((view, context) => {
      const start = process.cpuUsage();
      for (let worked = 0; worked < 80_000; ) {
        const { user, system } = process.cpuUsage(start);
        worked = user + system;
      }
      return keep(view, context);
    });
    await expect(checkAbort(stubborn, cache, 4)).rejects.toThrow(/worked on for \d+ ms/);
  });

  it("answers an abort with another error", async () => {
    const rude = strategy((view, context) => {
      if (context.signal.aborted) throw new TypeError("cannot read properties of undefined");
      return keep(view, context);
    });
    const error = await checkAbort(rude, cache, 4).catch((thrown: unknown) => thrown);
    expect(isKvfoldError(error)).toBe(false);
    expect(String(error)).toMatch(/something else than KVFOLD_ABORTED/);
  });
});
