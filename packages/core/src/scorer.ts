/** Scorers give every cell a number; the higher, the more it is worth keeping. */
import type { PlanContext, Maybe } from "./strategy.js";
import type { CacheShape } from "./shape.js";
import type { CacheView, SignalName } from "./view.js";

/** Scores of all cells: `shared` [cells], or `head` with one array [kvHeads, cells] for each layer. */
export type Scores =
  | { readonly scope: "shared"; readonly data: Float32Array }
  | { readonly scope: "head"; readonly layers: readonly Float32Array[] };

export interface Scorer {
  readonly name: string;
  readonly expression: string;
  readonly signals: readonly SignalName[];
  appliesTo(shape: CacheShape): true | string;
  score(view: CacheView, context: PlanContext): Maybe<Scores>;
}
