/** Grouper and weigher make a plan: the frame of every strategy that merges. */
import {
  type CacheView,
  identityPlan,
  type MergeStrategy,
  type PlanContext,
  type SharedPlan,
  type SharedRow,
  sharedPlan,
} from "@kvfold/core";
import type { CellGroup, Grouper } from "./grouper.js";
import { needUnturnedKeys } from "./stay.js";
import type { Weigher } from "./weigher.js";

export interface MergeParts {
  /** Name of the strategy, for errors. */
  readonly name: string;
  readonly grouper: Grouper;
  readonly weigher: Weigher;
  /** `target`: each member is turned to the position of its row first. `stored`: keys are combined as they lie. */
  readonly keyFrame: "stored" | "target";
  /** Bias of a row that was merged; default none. */
  readonly bias?: (members: readonly number[], view: CacheView) => number;
}

/**
 * The `plan` of a strategy that merges groups. Cells in no group stay as they are.
 *
 * @example
 * defineStrategy({
 *   name: "mean", summary: "Averages.",
 *   create: () => ({ plan: mergeBy({ name: "mean", grouper: sameSqueezedPosition, weigher: meanWeigher, keyFrame: "target" }) }),
 * });
 */
export function mergeBy(parts: MergeParts): MergeStrategy["plan"] {
  return (view, context) => {
    if (context.target >= view.shape.cells) return identityPlan(view);
    return mergeGroups(view, context, parts.grouper(view, context), parts);
  };
}

/** The plan of these groups. */
export function mergeGroups(
  view: CacheView,
  context: PlanContext,
  groups: readonly CellGroup[],
  parts: Omit<MergeParts, "grouper">,
): SharedPlan {
  const grouped = new Set(groups.flatMap((group) => group.members));
  const kept = Array.from({ length: view.shape.cells }, (_, cell) => cell).filter(
    (cell) => !grouped.has(cell),
  );
  if (parts.keyFrame === "target") needUnturnedKeys(view, kept, parts.name);
  const keptGroups = kept.map((cell) => ({ members: [cell], position: view.positions[cell]! }));
  const sorted = [...keptGroups, ...groups].sort(byPosition);
  const { weigher } = parts;
  const rows = sorted.map((group) => rowOf(view, context, group, parts));
  return sharedPlan(view, rows, {
    keyFrame: parts.keyFrame,
    pins: context.pins,
    ...(weigher.scope === "all"
      ? {}
      : {
          headWeights: (layer, head, row) => {
            const weights = weigher.weigh(sorted[row]!.members, { view, context, layer, head });
            return { key: weights, value: weights };
          },
        }),
  });
}

// ---------------------------------------------------------------------------------------------------------------

/** Rows stand in the order of their positions; of equal ones the older cell comes first. */
const byPosition = (a: CellGroup, b: CellGroup): number =>
  a.position - b.position || a.members[0]! - b.members[0]!;

function rowOf(
  view: CacheView,
  context: PlanContext,
  { members, position }: CellGroup,
  { weigher, bias }: Omit<MergeParts, "grouper">,
): SharedRow {
  // a row that keeps one cell keeps its bias; the builder sees to that
  if (members.length === 1) return { members, position };
  const weights =
    weigher.scope === "all" ? weigher.weigh(members, { view, context, layer: 0, head: 0 }) : null;
  return {
    members,
    position,
    ...(bias === undefined ? {} : { bias: bias(members, view) }),
    ...(weights === null ? {} : { keyWeights: weights, valueWeights: weights }),
  };
}
