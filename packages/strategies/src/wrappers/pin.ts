/**
 * Keeps cells out of whatever the strategy inside does: the attention sinks at the start (StreamingLLM, arXiv
 * 2309.17453), the newest cells, and single positions.
 *
 *     cells        a b c d e f g h
 *     pin          ^ ^         ^ ^      sinks=2, recent=2
 *     mean at 2x   a b [cde f] g h      the target counts the pins
 *
 * Levels: `exact` (key and value as they are), `key` (key as it is), `absorb` (stays, and may take others in). Pins of
 * wrappers inside and outside add up; the higher level wins. The finished plan is checked again, so a strategy that
 * ignores pins is found out.
 */
import {
  checkPlan,
  defineWrapper,
  isKvfoldError,
  KvfoldError,
  PIN_LEVEL,
  type WrapperFactory,
} from "@kvfold/core";
import * as v from "valibot";
import { higherPins, isFree, needRoom, raisePins } from "../parts/pins.js";
import { wholeNumber } from "../parts/schemas.js";

export interface PinOptions {
  /** Cells at the start of the cache. */
  readonly sinks: number;
  /** Cells at the end of the cache. */
  readonly recent: number;
  /** Positions of other cells; one that no cell has is passed over. */
  readonly positions: readonly number[];
  readonly level: "absorb" | "key" | "exact";
}

export const pin: WrapperFactory<PinOptions> = defineWrapper<PinOptions>({
  name: "pin",
  summary: "Keeps sinks, recent cells and single positions as they are.",
  source: "arXiv 2309.17453",
  options: {
    schema: v.strictObject({
      sinks: wholeNumber,
      recent: wholeNumber,
      positions: v.array(wholeNumber, "expected a list, such as [17,18]"),
      level: v.picklist(["absorb", "key", "exact"], "expected exact, key or absorb"),
    }),
    info: {
      sinks: { default: 4, description: "pinned at the start of the cache", unit: "cells" },
      recent: { default: 128, description: "pinned at the end of the cache", unit: "cells" },
      positions: { default: [], description: "pinned wherever they are", unit: "positions" },
      level: { default: "exact", description: "exact, key or absorb" },
    },
  },
  create: ({ level, ...wanted }, inner) => ({
    plan: async (view, context) => {
      const pins = raisePins(view, context.pins, { ...wanted, level: PIN_LEVEL[level] });
      const free = pins.filter((_, cell) => isFree(context, pins, cell)).length;
      needRoom(view, context, view.shape.cells - free, { who: "pin", scope: inner.scope });
      const plan = await inner.plan(view, { ...context, pins });
      checkPlan(plan, view);
      const pinned = { ...plan, pins: plan.pins === null ? pins : higherPins(plan.pins, pins) };
      try {
        checkPlan(pinned, view);
      } catch (cause) {
        throw isKvfoldError(cause) ? brokenPin(inner.name, cause) : cause;
      }
      return pinned;
    },
  }),
});

// ---------------------------------------------------------------------------------------------------------------

function brokenPin(who: string, cause: KvfoldError): KvfoldError {
  const hint = "the strategy must leave pinned cells alone: see PlanContext.pins";
  return new KvfoldError(cause.code, `the plan is wrong: ${cause.what}`, { who, hint, cause });
}
