/**
 * frms: what queries that may be asked after the context pay to a cell. Score: root mean square, over future queries
 * and the query heads of the group, of the softmax weight. Future queries are the prompt's own, turned to positions
 * just after it, so no second pass is needed. Per head; needs the signal queries.
 *
 *     queries of the prompt   q3 q17 q40 ...   turned to   last + 1 .. last + horizon
 *
 * The root mean square lies between the mean, in which a cell that few queries need gets lost, and the maximum, which
 * one odd query decides (arXiv 2602.16284).
 */
import { defineScorer, type ScorerFactory } from "@kvfold/core";
import * as v from "valibot";
import { futureAttention, rootMeanSquare } from "../parts/future-attention.js";
import { futureHorizon, positiveNumber } from "../parts/schemas.js";

export interface FrmsOptions {
  /** Positions after the context over which queries are spread. */
  readonly horizon: number;
  /** Query rows for each KV head: samples times the query heads of its group. */
  readonly maxRows: number;
}

export const frms: ScorerFactory<FrmsOptions> = defineScorer<FrmsOptions>({
  name: "frms",
  summary: "Cells that the prompt's own queries, turned to the future, pay attention to.",
  source: "arXiv 2602.16284",
  options: {
    schema: v.strictObject({ horizon: futureHorizon, maxRows: positiveNumber }),
    info: {
      horizon: { default: 512, description: "queries are spread over so many next ones", unit: "positions" },
      maxRows: { default: 4096, description: "queries used for each KV head, at most", unit: "query rows" },
    },
  },
  signals: ["queries"],
  create: ({ horizon, maxRows }) => ({
    score: (view, context) =>
      futureAttention(view, context, { who: "frms", horizon, maxRows }, rootMeanSquare),
  }),
});
