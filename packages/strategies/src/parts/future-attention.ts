/** What future queries pay to the cells of every head. */
import type { AttendOptions, AttendStats, CacheView, PlanContext, Scores } from "@kvfold/core";
import { scoreByLayer } from "./by-layer.js";
import { needQueries } from "./samples.js";

/** How the softmax weights that queries pay to a cell become its score. */
export type WeightScore = (stats: AttendStats) => Float32Array;

/** The root mean square. */
export const rootMeanSquare: WeightScore = ({ rms }) => rms;

/**
 * The geometric mean of mean and root mean square: a cell that a few queries need much and one that many need a little
 * stay both. At 8x it keeps more of what the model expects than either of the two does.
 */
export const meanAndRootMeanSquare: WeightScore = ({ mean, rms }) =>
  rms.map((weight, cell) => Math.sqrt(weight * mean[cell]!));

/**
 * Scores by layer.
 * @throws KvfoldError KVFOLD_SIGNAL_MISSING, KVFOLD_NOT_APPLICABLE
 */
export function futureAttention(
  view: CacheView,
  context: PlanContext,
  { who, ...options }: { who: string } & Pick<AttendOptions, "horizon" | "maxRows" | "fitRows">,
  score: WeightScore,
): Promise<Scores> {
  needQueries(view, who);
  const { ops, signal } = context;
  const attend = async (layer: number) => score(await ops.attend(view, layer, { ...options, signal }));
  return scoreByLayer(view, context, who, attend);
}
