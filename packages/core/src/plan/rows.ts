/** What a row does with its cells, and what engines carry over to the folded cache. */
import type { CacheShape } from "../shape.js";
import type { RepeatAttention } from "../view.js";
import type { CompositePlan, MergePlan, SharedPlan } from "./plan.js";
import { weighsOne, weightBase } from "./weights.js";

/** The largest number of KV heads of any layer: what plans are padded to. */
export const mostKvHeads = (shape: Pick<CacheShape, "layers">): number =>
  shape.layers.reduce((most, layer) => Math.max(most, layer.kvHeads), 1);

/** The cell that a composite row takes in one layer and head. */
export const memberOf = (plan: CompositePlan, layer: number, head: number, row: number): number =>
  plan.members[(layer * plan.kvHeads + head) * plan.rows + row]!;

/**
 * The one cell that a row keeps, with weight 1 and in all layers and heads, or -1. Its key is copied unless the plan
 * re-rotates it, its value unless the plan solves for it or gives it (see `isIdentityRow`).
 */
export function keptCell(plan: MergePlan, row: number): number {
  return plan.layout === "shared" ? keptByShared(plan, row) : keptByComposite(plan, row);
}

function keptByShared(plan: SharedPlan, row: number): number {
  const at = plan.offsets[row]!;
  if (plan.offsets[row + 1]! - at !== 1) return -1;
  const { length } = plan.members;
  return weighsOne(plan.keyWeights, length, at) && weighsOne(plan.valueWeights, length, at)
    ? plan.members[at]!
    : -1;
}

function keptByComposite(plan: CompositePlan, row: number): number {
  const cell = plan.members[row]!;
  for (let i = row; i < plan.members.length; i += plan.rows) if (plan.members[i] !== cell) return -1;
  return cell;
}

/** Positions of stored keys: those of the cells, or a source map for some layers. */
export interface KeyPositions {
  readonly shape: CacheShape;
  readonly positions: Int32Array;
  readonly sources?: (layer: number) => Int32Array | null;
}

/**
 * True when key frame and positions leave the key of a cell as it is stored, in all layers and heads: frame `stored`,
 * or frame `target` where every rotated layer already has the key at the row's position.
 */
export function keyStaysPut(plan: MergePlan, row: number, cell: number, cache: KeyPositions): boolean {
  if (plan.layout === "composite" || plan.keyFrame === "stored") return true;
  const { layers, cells } = cache.shape;
  const target = plan.positions[row]!;
  return layers.every((layer, index) => {
    if (layer.rope === null) return true;
    const sources = cache.sources?.(index) ?? null;
    if (sources === null) return cache.positions[cell] === target;
    for (let head = 0; head < layer.kvHeads; head++)
      if (sources[head * cells + cell] !== target) return false;
    return true;
  });
}

/** True when a row is the raw bytes of one cell, in all layers and heads. */
export function isIdentityRow(plan: MergePlan, row: number, cache: KeyPositions): boolean {
  const cell = keptCell(plan, row);
  return cell >= 0 && valueStaysPut(plan, row) && keyStaysPut(plan, row, cell, cache);
}

/** Not 0 where the value of a row is solved for or given, null where no value is. [layers, kvHeads, rows] */
export const ownValues = (plan: MergePlan): Uint8Array | null => plan.fit?.free ?? plan.values?.given ?? null;

/** How many entries of a mask of values are not 0. */
export const markedRows = (mask: Uint8Array): number =>
  mask.reduce((sum, entry) => sum + (entry === 0 ? 0 : 1), 0);

/** True when no layer and head solves for the value of a row, or is given it: the value is that of its members. */
export function valueStaysPut(plan: MergePlan, row: number): boolean {
  const own = ownValues(plan);
  for (let i = row; own !== null && i < own.length; i += plan.rows) if (own[i] !== 0) return false;
  return true;
}

/**
 * The member of a shared row whose key weight is largest in magnitude, ties to the first: the one whose rotation a
 * merged key keeps.
 * @returns an index into `plan.members`
 */
export function leadingMember(plan: SharedPlan, row: number, base: number): number {
  let best = plan.offsets[row]!;
  for (let i = best + 1; i < plan.offsets[row + 1]!; i++) {
    if (Math.abs(plan.keyWeights.data[base + i]!) > Math.abs(plan.keyWeights.data[base + best]!)) best = i;
  }
  return best;
}

/**
 * Source map of one layer after a fold: the position with which each new key is rotated. Frame `target` puts rotated
 * keys at the row's position; otherwise a key keeps the position of its (leading) member.
 *
 * @param layerIndex index into `shape.layers`; a layer without RoPE keeps the true positions
 * @param oldPositions [cells]
 * @param oldSources [kvHeads, cells], or null for `oldPositions` in all heads
 * @returns [kvHeads, rows], or null when it equals `plan.positions` in all heads
 */
export function nextSources(
  plan: MergePlan,
  shape: CacheShape,
  layerIndex: number,
  oldPositions: Int32Array,
  oldSources: Int32Array | null,
): Int32Array | null {
  const layer = shape.layers[layerIndex]!;
  if (plan.layout === "shared" && plan.keyFrame === "target" && layer.rope !== null) return null;
  const next = new Int32Array(layer.kvHeads * plan.rows);
  let differs = false;
  for (let head = 0; head < layer.kvHeads; head++) {
    const member = sourceMember(plan, mostKvHeads(shape), layerIndex, head);
    for (let row = 0; row < plan.rows; row++) {
      const cell = member(row);
      const source = oldSources === null ? oldPositions[cell]! : oldSources[head * plan.cells + cell]!;
      next[head * plan.rows + row] = source;
      differs ||= source !== plan.positions[row];
    }
  }
  return differs ? next : null;
}

function sourceMember(
  plan: MergePlan,
  kvHeads: number,
  layer: number,
  head: number,
): (row: number) => number {
  if (plan.layout === "composite") return (row) => memberOf(plan, layer, head, row);
  const base = weightBase(plan.keyWeights, plan.members.length, kvHeads, layer, head);
  return (row) => plan.members[leadingMember(plan, row, base)]!;
}

/**
 * Token ids after a fold: -1 where a row is not one cell in all layers and heads.
 * @param tokens [cells] or null
 * @returns [rows] or null
 */
export function nextTokens(plan: MergePlan, tokens: Int32Array | null): Int32Array | null {
  if (tokens === null) return null;
  return Int32Array.from({ length: plan.rows }, (_, row) => {
    const cell = keptCell(plan, row);
    return cell < 0 ? -1 : tokens[cell]!;
  });
}

/** Token log-probabilities after a fold: NaN where a row is not one cell. [cells] -> [rows] */
export function nextTokenLogProbs(plan: MergePlan, logProbs: Float32Array | null): Float32Array | null {
  if (logProbs === null) return null;
  return Float32Array.from({ length: plan.rows }, (_, row) => {
    const cell = keptCell(plan, row);
    return cell < 0 ? Number.NaN : logProbs[cell]!;
  });
}

/**
 * What a second reading attended to, after a fold: a row got as much as the cell of its head that got most. Members
 * that do not weigh in its key do not count.
 * @param repeat by layer [kvHeads, cells], or null
 * @returns by layer [kvHeads, rows], or null
 */
export function nextRepeat(
  plan: MergePlan,
  shape: Pick<CacheShape, "layers">,
  repeat: RepeatAttention | null,
): RepeatAttention | null {
  if (repeat === null) return null;
  const kvHeads = mostKvHeads(shape);
  const layers = shape.layers.map((layer, index) => {
    const next = new Float32Array(layer.kvHeads * plan.rows);
    for (let head = 0; head < layer.kvHeads; head++) {
      const old = repeat.layers[index]!.subarray(head * plan.cells, (head + 1) * plan.cells);
      for (let row = 0; row < plan.rows; row++) {
        next[head * plan.rows + row] =
          plan.layout === "composite"
            ? old[memberOf(plan, index, head, row)]!
            : mostOfMembers(
                plan,
                row,
                weightBase(plan.keyWeights, plan.members.length, kvHeads, index, head),
                old,
              );
      }
    }
    return next;
  });
  return { layers };
}

function mostOfMembers(plan: SharedPlan, row: number, base: number, old: Float32Array): number {
  let most = 0;
  for (let i = plan.offsets[row]!; i < plan.offsets[row + 1]!; i++) {
    if (plan.keyWeights.data[base + i] !== 0) most = Math.max(most, old[plan.members[i]!]!);
  }
  return most;
}

/** Bias after a fold: a copy of the plan's, or null when all are zero. [rows] */
export function nextBias(plan: MergePlan): Float32Array | null {
  return plan.bias?.some((value) => value !== 0) ? plan.bias.slice() : null;
}
