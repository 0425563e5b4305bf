/** Scores that are made one layer after the other. */
import type { CacheView, PlanContext, Scores } from "@kvfold/core";
import { createBreather } from "./breathe.js";

/**
 * Scores of scope `head`, with a breath before each layer.
 * @param scoreLayer `layer` indexes `view.shape.layers`; gives [kvHeads, cells]
 * @throws KvfoldError KVFOLD_ABORTED
 */
export async function scoreByLayer(
  view: CacheView,
  context: PlanContext,
  who: string,
  scoreLayer: (layer: number) => Promise<Float32Array>,
): Promise<Scores> {
  const breathe = createBreather(context, who);
  const layers: Float32Array[] = [];
  for (let layer = 0; layer < view.shape.layers.length; layer++) {
    await breathe();
    layers.push(await scoreLayer(layer));
  }
  return { scope: "head", layers };
}
