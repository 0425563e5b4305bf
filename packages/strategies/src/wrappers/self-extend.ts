/**
 * Self-extend (arXiv 2401.01325): squeezes the positions of old cells, so that a text longer than the trained context
 * stays within it. The newest `window` positions keep their distances, older ones are divided by `factor`.
 *
 *     positions   0 1 2 3 4 5 6 7 8 9      factor=2, window=4
 *     become      0 0 1 1 2 2 3 4 5 6
 *
 * It changes the plan of the strategy inside, not the choice of its cells. With b = the position of the first cell of
 * the range and e = the position where the window begins, a row at p moves to b + floor((p - b) / factor) before e, and
 * to b + floor((e - b) / factor) + (p - e) from e on. The key frame of the whole plan becomes `target`: every member of
 * every row is turned from its own position to that of the row, so rows that the strategy meant to combine as they lie
 * are aligned first. Rows with cells outside the range, and rows with a cell pinned `key` or `exact`, stay at their
 * position. A composite plan copies keys and cannot turn them: KVFOLD_PLAN_COMPOSE.
 *
 * Meant for a fold over the whole cache, once, or for folds over new cells; what was squeezed and lies in the range is
 * squeezed again. Where nothing has to go (the target is no smaller than the cache), nothing moves. It frees no memory
 * by itself, and inside the trained context it only blurs distances.
 */
import {
  defineWrapper,
  KvfoldError,
  PIN_LEVEL,
  type PlanContext,
  type SharedPlan,
  type WrapperFactory,
} from "@kvfold/core";
import * as v from "valibot";
import { squeezedPosition } from "../parts/grouper.js";
import { moveRows } from "../parts/rows.js";
import { factor, wholeNumber } from "../parts/schemas.js";
import { needUnturnedKeys } from "../parts/stay.js";

export interface SelfExtendOptions {
  /** Old positions are divided by this. */
  readonly factor: number;
  /** Newest positions that keep their distances. */
  readonly window: number;
}

export const selfExtend: WrapperFactory<SelfExtendOptions> = defineWrapper({
  name: "self-extend",
  summary: "Squeezes the positions of old cells, to reach beyond the trained context.",
  source: "arXiv 2401.01325",
  options: {
    schema: v.strictObject({ factor, window: wholeNumber }),
    info: {
      factor: { default: 4, description: "old positions are divided by this", unit: "ratio" },
      window: { default: 512, description: "newest positions that keep their distances", unit: "positions" },
    },
  },
  create: (options, inner) => ({
    plan: async (view, context) => {
      const plan = await inner.plan(view, context);
      if (plan.layout === "composite") throw compositeError(inner.name);
      if (context.target >= view.shape.cells) return plan;
      const base = view.positions[context.range.from] ?? 0;
      const windowStart = plan.positions[plan.rows - 1]! - options.window + 1;
      const mayMove = movableRows(plan, context);
      const positions = plan.positions.map((position, row) =>
        mayMove[row] ? movedPosition(position, base, windowStart, options.factor) : position,
      );
      if (positions.every((position, row) => position === plan.positions[row])) return plan;
      const staying = [...mayMove.keys()].filter((row) => !mayMove[row]);
      needUnturnedKeys(
        view,
        staying.flatMap((row) => [...membersOf(plan, row)]),
        "self-extend",
      );
      return moveRows(plan, positions);
    },
  }),
});

// ---------------------------------------------------------------------------------------------------------------

function compositeError(who: string): KvfoldError {
  return new KvfoldError("KVFOLD_PLAN_COMPOSE", `self-extend cannot move the cells of ${who}`, {
    who: "self-extend",
    hint: "a composite plan copies keys as they are rotated; use a strategy with the same cells in every head",
  });
}

function movedPosition(position: number, base: number, windowStart: number, by: number): number {
  if (windowStart <= base) return position;
  if (position < windowStart) return squeezedPosition(position, base, by);
  return squeezedPosition(windowStart, base, by) + position - windowStart;
}

/** Rows whose cells all lie in the range, and of which none must keep its key. [rows] */
function movableRows(plan: SharedPlan, { pins, range }: PlanContext): readonly boolean[] {
  const holds = (cell: number): boolean =>
    cell < range.from ||
    cell >= range.to ||
    Math.max(pins?.[cell] ?? 0, plan.pins?.[cell] ?? 0) >= PIN_LEVEL.key;
  return Array.from({ length: plan.rows }, (_, row) => !membersOf(plan, row).some(holds));
}

const membersOf = (plan: SharedPlan, row: number): Uint32Array =>
  plan.members.subarray(plan.offsets[row], plan.offsets[row + 1]);
