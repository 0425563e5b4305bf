/**
 * SnapKV (arXiv 2404.14469), approximated. Score: mean softmax weight that the newest sampled queries pay to a cell,
 * averaged over 5 neighbouring cells. Per head; needs the signal queries. With `evict(by=snapkv,neighbours=0)` nothing
 * is pooled a second time.
 *
 *     sampled queries  q2 q5 q9 ... q950 | q981 q990 q1021     the newest ones stand for the observation window
 *
 * What differs from the paper: the paper takes the last tokens of the prompt, all of them and at their own positions;
 * here the newest of the sample speak, a part of those tokens (or, in a long prompt, of older ones too), turned to the
 * positions right after the context, so that they see every cell.
 */
import { defineScorer, hashQueries, type QuerySample, type ScorerFactory } from "@kvfold/core";
import * as v from "valibot";
import { scoreByLayer } from "../parts/by-layer.js";
import { needQueries, newestSamples } from "../parts/samples.js";
import { futureHorizon } from "../parts/schemas.js";

export interface SnapkvOptions {
  /** Newest sampled queries that are asked, each with all heads of a group. */
  readonly window: number;
}

export const snapkv: ScorerFactory<SnapkvOptions> = defineScorer<SnapkvOptions>({
  name: "snapkv",
  summary: "Cells that the newest sampled queries pay attention to, and their neighbours.",
  source: "arXiv 2404.14469",
  options: {
    schema: v.strictObject({ window: futureHorizon }),
    info: { window: { default: 64, description: "newest queries that are asked", unit: "sampled queries" } },
  },
  signals: ["queries"],
  create: ({ window }) => ({
    score: (view, context) => {
      const newest = sampleOfNewest(needQueries(view, "snapkv"), window);
      const { cells } = view.shape;
      const { ops, signal } = context;
      // as many positions as queries: each is asked from one of its own
      return scoreByLayer(view, context, "snapkv", async (layer) =>
        averageOfFive(
          (await ops.attend(view, layer, { queries: newest, horizon: window, signal })).mean,
          cells,
        ),
      );
    },
  }),
});

// ---------------------------------------------------------------------------------------------------------------

/** The newest queries of a sample. */
function sampleOfNewest(sample: QuerySample, count: number): QuerySample {
  const newest = newestSamples(sample, count);
  const samples = sample.positions.length;
  const chosen = {
    positions: Int32Array.from(newest, (index) => sample.positions[index]!),
    layers: sample.layers.map((layer) => {
      if (layer === null) return null;
      const width = layer.rows.length / samples;
      const rows = new Uint16Array(newest.length * width);
      newest.forEach((index, place) => {
        rows.set(layer.rows.subarray(index * width, (index + 1) * width), place * width);
      });
      return { ...layer, rows };
    }),
  };
  return { ...chosen, hash: hashQueries(chosen) };
}

/** Each cell gets the mean of itself and the two cells on either side, of those that there are. [heads, cells] */
function averageOfFive(scores: Float32Array, cells: number): Float32Array {
  return scores.map((_, index) => {
    const cell = index % cells;
    const from = index - Math.min(2, cell);
    const to = index + Math.min(2, cells - 1 - cell);
    let sum = 0;
    for (let i = from; i <= to; i++) sum += scores[i]!;
    return sum / (to - from + 1);
  });
}
