/** What future queries pay to the cells of every head: the scores of `frms`. */
import type { AttendOptions, CacheView, PlanContext, Scores } from "@kvfold/core";
import { scoreByLayer } from "./by-layer.js";
import { needQueries } from "./samples.js";

/**
 * Root mean squares of the softmax weights, by layer.
 * @throws KvfoldError KVFOLD_SIGNAL_MISSING, KVFOLD_NOT_APPLICABLE
 */
export function futureAttention(
  view: CacheView,
  context: PlanContext,
  { who, ...options }: { who: string } & Pick<AttendOptions, "horizon" | "maxRows" | "fitRows">,
): Promise<Scores> {
  needQueries(view, who);
  const { ops, signal } = context;
  const attend = async (layer: number) => (await ops.attend(view, layer, { ...options, signal })).rms;
  return scoreByLayer(view, context, who, attend);
}
