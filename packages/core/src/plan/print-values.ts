/** What a plan does to values, as text: how many rows are fitted or given, and in which heads. */
import type { MergePlan } from "./plan.js";
import { markedRows, ownValues } from "./rows.js";

/** One line on all heads together, or null for a plan that only takes values over. */
export function valueFacts(plan: MergePlan): string | null {
  const own = ownValues(plan);
  if (own === null) return null;
  const heads = rowsOfHeads(plan, own);
  const [least, most] = [Math.min(...heads), Math.max(...heads)];
  const total = heads.reduce((sum, rows) => sum + rows, 0);
  const range = least === most ? `${most}` : `${least}..${most}`;
  const rows = `${total} ${plan.fit === null ? "given" : "fitted"}, ${range} of ${plan.rows} in a head`;
  if (plan.fit === null) return rows;
  const { method, lambda, holdout, queries } = plan.fit;
  return `${rows}, ${method} ${lambda}, one query in ${holdout} judges, sample ${queries.slice(0, 8)}`;
}

/** Heads of one layer stand in one line where the layers are known; a shared plan does not tell them. */
export function valueLines(plan: MergePlan): string[] {
  const own = ownValues(plan);
  if (own === null) return [];
  const heads = rowsOfHeads(plan, own);
  if (plan.layout === "shared") return [`rows by layer and KV head: ${heads.join(" ")}`];
  return Array.from({ length: plan.layers }, (_, layer) => {
    const line = heads.slice(layer * plan.kvHeads, (layer + 1) * plan.kvHeads);
    return `L${layer} ${line.map((rows, head) => `H${head} ${rows}`).join(", ")}`;
  });
}

function rowsOfHeads(plan: MergePlan, own: Uint8Array): number[] {
  return Array.from({ length: own.length / plan.rows }, (_, group) =>
    markedRows(own.subarray(group * plan.rows, (group + 1) * plan.rows)),
  );
}
