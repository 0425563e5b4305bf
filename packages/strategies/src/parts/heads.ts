/** Composite plans in which every (layer, KV head) keeps its own choice of some cells, and all keep the others. */
import { type CacheView, type CompositePlan, compositePlan, mostKvHeads } from "@kvfold/core";

/**
 * Rows of one head: cells that stay and are older than all free ones, cells that stay among them, the chosen ones in
 * rising order, cells that stay and are newer. So what all heads keep is in the same row of every head.
 *
 *     cells    a b c d e f     b c e f compete   ->   head 0   a d | b e     head 1   a d | c f
 *
 * @param free cells that compete, in rising order, at least one
 * @param chosen of each layer and KV head, equally many, in rising order
 */
export function composeHeads(
  view: CacheView,
  free: Uint32Array,
  chosen: readonly (readonly Uint32Array[])[],
  pins: Uint8Array,
): CompositePlan {
  return compositePlan(view, headMembers(view, free, chosen), { pins });
}

/**
 * The rows of `composeHeads` as members of a composite plan, for plans that say more than which cells stay.
 * @returns [layers, kvHeads, rows], kvHeads the most of any layer
 */
export function headMembers(
  view: CacheView,
  free: Uint32Array,
  chosen: readonly (readonly Uint32Array[])[],
): Uint32Array {
  const isFreeCell = new Uint8Array(view.shape.cells);
  for (const cell of free) isFreeCell[cell] = 1;
  const newest = free.at(-1)!;
  const staying = Uint32Array.from(isFreeCell.keys()).filter((cell) => isFreeCell[cell] === 0);
  const before = staying.filter((cell) => cell < newest);
  const after = staying.filter((cell) => cell > newest);
  const kvHeads = mostKvHeads(view.shape);
  const rows = staying.length + chosen[0]![0]!.length;
  const members = new Uint32Array(view.shape.layers.length * kvHeads * rows);
  for (const [layer, heads] of chosen.entries()) {
    for (let head = 0; head < kvHeads; head++) {
      // heads that the layer lacks repeat its head 0
      const own = heads[head] ?? heads[0]!;
      const start = (layer * kvHeads + head) * rows;
      members.set(before, start);
      members.set(own, start + before.length);
      members.set(after, start + before.length + own.length);
    }
  }
  return members;
}
