/** Pin levels of cells, and whether the budget has room for them. */
import { type CacheView, KvfoldError, type MergeStrategy, PIN_LEVEL, type PlanContext } from "@kvfold/core";

export interface PinnedCells {
  /** The first cells of the cache. */
  readonly sinks: number;
  /** The last cells of the cache. */
  readonly recent: number;
  /** Cells at these positions. */
  readonly positions?: readonly number[];
  /** A level of `PIN_LEVEL`. */
  readonly level: number;
}

/** The pins there are, raised to `level` at the given cells. [cells] */
export function raisePins(view: CacheView, pins: Uint8Array | null, wanted: PinnedCells): Uint8Array {
  const { cells } = view.shape;
  const raised = pins?.slice() ?? new Uint8Array(cells);
  const positions = new Set(wanted.positions ?? []);
  for (let cell = 0; cell < cells; cell++) {
    const named = positions.has(view.positions[cell]!);
    if (named || cell < wanted.sinks || cell >= cells - wanted.recent) {
      raised[cell] = Math.max(raised[cell]!, wanted.level);
    }
  }
  return raised;
}

/** The higher level of each cell. [cells] */
export function higherPins(a: Uint8Array, b: Uint8Array): Uint8Array {
  return a.map((level, cell) => Math.max(level, b[cell]!));
}

/**
 * Checks that pins and the cells outside the range leave the target in reach.
 * @param staying cells that stay in any case
 * @throws KvfoldError KVFOLD_BUDGET with the numbers, and the largest ratio that works
 */
export function needRoom(
  view: CacheView,
  context: PlanContext,
  staying: number,
  { who, scope }: { readonly who: string; readonly scope: MergeStrategy["scope"] },
): void {
  if (staying <= context.target) return;
  const largest = largestRatio(view, context, staying, scope);
  throw new KvfoldError(
    "KVFOLD_BUDGET",
    `${staying} cells are pinned or lie outside the range, but only ${context.target} may stay`,
    { who, hint: largest > 1 ? `pin fewer cells, or use a ratio of at most ${largest}` : "pin fewer cells" },
  );
}

/** True when the cell is in the range and no pin holds it. */
export function isFree(context: PlanContext, pins: Uint8Array | null, cell: number): boolean {
  const { from, to } = context.range;
  return cell >= from && cell < to && (pins?.[cell] ?? PIN_LEVEL.none) === PIN_LEVEL.none;
}

/**
 * Cells that compete for the room, in rising order. The newest cell is none of them even without pins: the next token
 * follows its position.
 */
export function freeCells(view: CacheView, context: PlanContext, pins: Uint8Array): Uint32Array {
  const last = view.shape.cells - 1;
  return Uint32Array.from(pins.keys()).filter((cell) => cell !== last && isFree(context, pins, cell));
}

// ---------------------------------------------------------------------------------------------------------------

/** Rounded down to hundredths, so that it works when typed in. */
function largestRatio(
  view: CacheView,
  { range, ratio, target }: PlanContext,
  staying: number,
  scope: MergeStrategy["scope"],
): number {
  const inside = range.to - range.from;
  const outside = view.shape.cells - inside;
  const tokens = view.counts.reduce((sum, count) => sum + count, 0);
  // the target was ceil(seen / ratio), so more than ratio * (target - 1) tokens were seen, and at least those still here
  const seen = Math.max(tokens, ratio * (target - 1));
  const largest = scope === "new" ? inside / (staying - outside) : seen / staying;
  return Math.floor(largest * 100) / 100;
}
