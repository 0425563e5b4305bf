/** Groupers decide which cells become one row, and where the row stands. */
import { type CacheView, PIN_LEVEL, type PlanContext } from "@kvfold/core";

/** Cells that become one row; a group of one moves a cell. */
export interface CellGroup {
  /** Cells, in rising order. */
  readonly members: readonly number[];
  /** Position of the row. */
  readonly position: number;
}

/**
 * Groups cells of `context.range`, each at most once. What is in no group stays as it is: pinned cells of the levels
 * `key` and `exact` must be left out, and a group may hold one cell of level `absorb`.
 */
export type Grouper = (view: CacheView, context: PlanContext) => readonly CellGroup[];

/** SelfExtend's squeezed position (arXiv 2401.01325), counted from `base`: base + floor((p - base) / factor). */
export function squeezedPosition(position: number, base: number, factor: number): number {
  return base + Math.floor((position - base) / factor);
}

/**
 * The default grouper: cells whose squeezed positions are equal, as llama.cpp PR 5719 merges them. The factor is the
 * ratio; where positions have gaps or cells are pinned it is raised until the target is met.
 *
 *     positions   0 1 2 3 4 5 6      factor 3
 *     squeezed    0 0 0 1 1 1 2   -> [0 1 2] [3 4 5] [6]
 */
export const sameSqueezedPosition: Grouper = (view, context) => {
  const { from, to } = context.range;
  const free: number[] = [];
  let absorbing = 0;
  for (let cell = from; cell < to; cell++) {
    const level = context.pins?.[cell] ?? PIN_LEVEL.none;
    if (level === PIN_LEVEL.absorb) absorbing += 1;
    if (level <= PIN_LEVEL.absorb) free.push(cell);
  }
  if (free.length === 0) return [];
  const groups = groupBy(view, context, free, context.ratio);
  const rowsLeft = context.target - (view.shape.cells - free.length);
  if (groups.length <= rowsLeft) return groups;
  // at most `span / factor` squeezed positions remain, and one more row for each cell that absorbs
  const span = view.positions[to - 1]! - view.positions[from]! + 1;
  const needed = Math.ceil(span / Math.max(1, rowsLeft - absorbing));
  return groupBy(view, context, free, Math.max(context.ratio, needed));
};

// ---------------------------------------------------------------------------------------------------------------

function groupBy(
  view: CacheView,
  context: PlanContext,
  cells: readonly number[],
  factor: number,
): CellGroup[] {
  const base = view.positions[context.range.from]!;
  const groups: { members: number[]; position: number; absorbs: boolean }[] = [];
  for (const cell of cells) {
    const position = squeezedPosition(view.positions[cell]!, base, factor);
    const absorbs = context.pins?.[cell] === PIN_LEVEL.absorb;
    const last = groups.at(-1);
    if (last !== undefined && last.position === position && !(absorbs && last.absorbs)) {
      last.members.push(cell);
      last.absorbs ||= absorbs;
    } else {
      groups.push({ members: [cell], position, absorbs });
    }
  }
  return groups;
}
