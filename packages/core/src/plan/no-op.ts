/** Recognises plans whose execution would change nothing. */
import type { CacheView } from "../view.js";
import type { MergePlan } from "./plan.js";
import { isIdentityRow, keptCell } from "./rows.js";

/** True when every row is the raw bytes of the cell at its own place, with its position, count and bias. */
export function isNoOpPlan(plan: MergePlan, view: CacheView): boolean {
  if (plan.rows !== plan.cells || plan.dropped !== 0) return false;
  for (let row = 0; row < plan.rows; row++) {
    if (keptCell(plan, row) !== row || !isIdentityRow(plan, row, view)) return false;
    if (plan.positions[row] !== view.positions[row] || plan.counts[row] !== view.counts[row]) return false;
    if ((plan.bias?.[row] ?? 0) !== (view.bias?.[row] ?? 0)) return false;
  }
  return true;
}
