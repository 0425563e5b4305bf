/** The options of `refit`, with their units and limits. */
import type { OptionsDefinition } from "@kvfold/core";
import * as v from "valibot";
import { futureHorizon, positiveNumber, share, wholeNumber } from "./schemas.js";

export interface RefitOptions {
  /** Cells kept at the start of the cache. */
  readonly sinks: number;
  /** Cells kept at the end of the cache. */
  readonly recent: number;
  /** Share of the room for cells that all heads keep as they are; `auto`: 0, or 0.2 with `queries=repeat`. */
  readonly sharedPins: number | "auto";
  /** Share of the room for cells that stand out in a head; `auto`: 0.35, or 0.4 with `queries=repeat`. */
  readonly headPins: number | "auto";
  /** Distance, in cells, within which a cell takes over the best KeyDiff score of its head. */
  readonly neighbours: number;
  /** Ridge of the fit, relative to the mean diagonal of A^T A. */
  readonly lambda: number;
  /** How many times the ridge holds the values of what stands out in a head; 0: they stay as they are. */
  readonly pinRidge: number;
  /** Query rows for each KV head that choose cells: samples times the query heads of its group. */
  readonly maxRows: number;
  /** Query rows for each KV head, the first of those, that values are fitted on. */
  readonly fitRows: number;
  /** Every n-th query row judges a fit; raised until it has no common divisor with a group of query heads. */
  readonly holdout: number;
  /** Positions after the context over which queries are spread. */
  readonly horizon: number;
  /** Whose attention chooses cells: future queries, or a second reading of the context. */
  readonly queries: "future" | "repeat";
  /** Whether values are solved anew, or the same cells keep their own. */
  readonly fit: boolean;
  /** Whether sinks and newest cells are fitted as well. */
  readonly fitWindow: boolean;
}

/** Shares of the room for pins. */
export interface PinShares {
  readonly shared: number;
  readonly head: number;
}

/**
 * Shares that nobody set depend on who chooses. Future queries pin for no head but their own: pins of all heads would
 * have every prompt read with its token log-probabilities, which cost a third of the reading. A second reading knows
 * better which cells are needed word for word, and pins those in all heads.
 */
const USUAL: Readonly<Record<RefitOptions["queries"], PinShares>> = {
  future: { shared: 0, head: 0.35 },
  repeat: { shared: 0.2, head: 0.4 },
};

/** What `auto` stands for; of a share that was set, what it leaves. */
export function pinShares({
  sharedPins,
  headPins,
  queries,
}: Pick<RefitOptions, "sharedPins" | "headPins" | "queries">): PinShares {
  const usual = USUAL[queries];
  const given = headPins === "auto" ? 0 : headPins;
  const shared = sharedPins === "auto" ? Math.min(usual.shared, 1 - given) : sharedPins;
  return { shared, head: headPins === "auto" ? Math.min(usual.head, 1 - shared) : headPins };
}

const shareOrAuto = v.union([v.literal("auto"), share], "expected auto or 0 to 1");
const trueOrFalse = v.boolean("expected true or false");

/** Shares are written as decimals, which do not add up to 1 exactly. */
const SLACK = 1e-9;

export const refitOptions: OptionsDefinition<RefitOptions> = {
  schema: v.pipe(
    v.strictObject({
      sinks: wholeNumber,
      recent: wholeNumber,
      sharedPins: shareOrAuto,
      headPins: shareOrAuto,
      neighbours: wholeNumber,
      lambda: v.pipe(
        v.unknown(),
        v.number("expected a number"),
        v.gtValue(0, "expected more than 0"),
        v.maxValue(1000, "expected at most 1000"),
      ),
      pinRidge: v.pipe(wholeNumber, v.maxValue(255, "expected at most 255")),
      maxRows: positiveNumber,
      fitRows: positiveNumber,
      holdout: v.pipe(wholeNumber, v.minValue(2, "expected at least 2")),
      horizon: futureHorizon,
      queries: v.picklist(["future", "repeat"], "expected future or repeat"),
      fit: trueOrFalse,
      fitWindow: trueOrFalse,
    }),
    v.forward(
      v.check((options) => {
        const { shared, head } = pinShares(options);
        return shared + head <= 1 + SLACK;
      }, "with sharedPins it is more than 1"),
      ["headPins"],
    ),
  ),
  info: {
    sinks: { default: 4, description: "kept at the start of the cache", unit: "cells" },
    recent: { default: 64, description: "kept at the end of the cache", unit: "cells" },
    sharedPins: {
      default: "auto",
      description: "pins of all heads; auto: 0, or 0.2 with queries=repeat",
      unit: "share of the room",
    },
    headPins: {
      default: "auto",
      description: "pins of each head; auto: 0.35, or 0.4 with queries=repeat",
      unit: "share of the room",
    },
    // a name or number of several tokens, which differ in how far they stand out, is kept whole
    neighbours: { default: 2, description: "a pin is worth what the best this near is worth", unit: "cells" },
    lambda: { default: 0.1, description: "how strongly values are held", unit: "mean diagonal of A^T A" },
    pinRidge: {
      default: 10,
      description: "how many times as strongly values of what stands out are held; 0: they stay",
      unit: "ridges",
    },
    maxRows: {
      default: 4096,
      description: "queries that choose cells, at most, for each KV head",
      unit: "query rows",
    },
    // divisible by the usual groups of query heads; what a fold costs is mostly these
    fitRows: { default: 2112, description: "of these so many values are fitted on", unit: "query rows" },
    holdout: {
      default: 9,
      description: "every n-th query judges the fit and takes no part in it",
      unit: "query rows",
    },
    horizon: { default: 512, description: "queries are spread over so many next ones", unit: "positions" },
    queries: { default: "future", description: "future or repeat: whose attention chooses" },
    fit: { default: true, description: "false: cells keep their own values" },
    fitWindow: { default: true, description: "false: sinks and newest cells keep their own values" },
  },
};
