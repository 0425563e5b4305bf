/** The picture of a composite plan: what every layer and head kept, as densities over the old cache. */
import type { CompositePlan } from "./plan.js";
import { type PictureRow, picture } from "./print-picture.js";
import { type Item, paint } from "./print-text.js";

/** From nothing kept to everything kept. */
const SHADES = " .:-=+*#%@";

/** How many heads keep each cell. [cells] */
export function headsOfCells(plan: CompositePlan): Uint32Array {
  const heads = new Uint32Array(plan.cells);
  for (const cell of plan.members) heads[cell]!++;
  return heads;
}

/** One line for all heads together and one for each head. */
export function densityLines(plan: CompositePlan, width: number, color: boolean): string[] {
  const groups = plan.layers * plan.kvHeads;
  const heads = headsOfCells(plan);
  const label = `L${plan.layers - 1} H${plan.kvHeads - 1}`.length;
  // label, two bars, two spaces, and "100%" with its space
  const buckets = Math.max(4, Math.min(plan.cells, width - label - 9));
  const all = Float64Array.from(heads, (count) => count / groups);
  const lines = [line("all".padEnd(label), shades(all, buckets), "like", color)];
  for (let group = 0; group < groups; group++) {
    const members = plan.members.subarray(group * plan.rows, (group + 1) * plan.rows);
    const kept = new Float64Array(plan.cells);
    let common = 0;
    for (const cell of members) {
      kept[cell] = 1;
      if (2 * heads[cell]! > groups) common++;
    }
    const name = `L${Math.floor(group / plan.kvHeads)} H${group % plan.kvHeads}`.padEnd(label);
    lines.push(line(name, shades(kept, buckets), `${Math.round((100 * common) / plan.rows)}%`, color));
  }
  return lines;
}

const line = (name: string, bar: string, share: string, color: boolean): string =>
  `${paint(name, "note", color)} |${bar}| ${share.padStart(4)}`;

/** Mean of each bucket of cells as a shade; a bucket with anything in it is never blank. */
function shades(kept: Float64Array, buckets: number): string {
  let bar = "";
  for (let bucket = 0; bucket < buckets; bucket++) {
    const from = Math.floor((bucket * kept.length) / buckets);
    const to = Math.max(from + 1, Math.floor(((bucket + 1) * kept.length) / buckets));
    let sum = 0;
    for (let cell = from; cell < to; cell++) sum += kept[cell]!;
    const shade = Math.ceil((sum / (to - from)) * (SHADES.length - 1) - 1e-9);
    bar += SHADES[shade]!;
  }
  return bar;
}

/** The tokens that more than half of the heads keep. */
export function commonPicture(plan: CompositePlan, pieces: readonly string[]): Item[] {
  const groups = plan.layers * plan.kvHeads;
  const rows: PictureRow[] = [];
  headsOfCells(plan).forEach((count, cell) => {
    if (2 * count > groups) rows.push({ members: [cell], position: cell });
  });
  return picture(rows, plan.cells, pieces, plan.pins);
}
