/** The options of `refit`, with their units and limits. */
import type { OptionsDefinition } from "@kvfold/core";
import * as v from "valibot";
import { futureHorizon, positiveNumber, share, wholeNumber } from "./schemas.js";

export interface RefitOptions {
  /** Cells kept at the start of the cache. */
  readonly sinks: number;
  /** Cells kept at the end of the cache. */
  readonly recent: number;
  /** Share of the room for cells that all heads keep, read-only. */
  readonly sharedPins: number;
  /** Share of the room for cells that each head keeps for itself, read-only. */
  readonly headPins: number;
  /** Distance, in cells, within which a cell takes over the best KeyDiff score of its head. */
  readonly neighbours: number;
  /** Ridge of the fit, relative to the mean diagonal of A^T A. */
  readonly lambda: number;
  /** Query rows for each KV head: samples times the query heads of its group. */
  readonly maxRows: number;
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

const trueOrFalse = v.boolean("expected true or false");

/** Shares are written as decimals, which do not add up to 1 exactly. */
const SLACK = 1e-9;

export const refitOptions: OptionsDefinition<RefitOptions> = {
  schema: v.pipe(
    v.strictObject({
      sinks: wholeNumber,
      recent: wholeNumber,
      sharedPins: share,
      headPins: share,
      neighbours: wholeNumber,
      lambda: v.pipe(
        v.unknown(),
        v.number("expected a number"),
        v.gtValue(0, "expected more than 0"),
        v.maxValue(1000, "expected at most 1000"),
      ),
      maxRows: positiveNumber,
      holdout: v.pipe(wholeNumber, v.minValue(2, "expected at least 2")),
      horizon: futureHorizon,
      queries: v.picklist(["future", "repeat"], "expected future or repeat"),
      fit: trueOrFalse,
      fitWindow: trueOrFalse,
    }),
    v.forward(
      v.check(
        ({ sharedPins, headPins }) => sharedPins + headPins <= 1 + SLACK,
        "with sharedPins it is more than 1",
      ),
      ["headPins"],
    ),
  ),
  info: {
    sinks: { default: 4, description: "kept at the start of the cache", unit: "cells" },
    recent: { default: 64, description: "kept at the end of the cache", unit: "cells" },
    // none: with some, every prompt would be read with its token log-probabilities, which cost a third of the reading
    sharedPins: { default: 0, description: "read-only cells of all heads", unit: "share of the room" },
    headPins: { default: 0.35, description: "read-only cells of each head", unit: "share of the room" },
    // a name or number of several tokens, which differ in how far they stand out, is kept whole
    neighbours: { default: 2, description: "a pin is worth what the best this near is worth", unit: "cells" },
    lambda: { default: 0.1, description: "how strongly values are held", unit: "mean diagonal of A^T A" },
    maxRows: { default: 4096, description: "queries used for each KV head, at most", unit: "query rows" },
    holdout: {
      default: 5,
      description: "every n-th query judges the fit and takes no part in it",
      unit: "query rows",
    },
    horizon: { default: 512, description: "queries are spread over so many next ones", unit: "positions" },
    queries: { default: "future", description: "future or repeat: whose attention chooses" },
    fit: { default: true, description: "false: cells keep their own values" },
    fitWindow: { default: true, description: "false: sinks and newest cells keep their own values" },
  },
};
