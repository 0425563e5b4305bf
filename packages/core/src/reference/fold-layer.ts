/** The definition of a fold: what every row of a layer is, computed one head at a time in double precision. */
import { decodeRow, encodeRow } from "../dtype/dtypes.js";
import type { MemoryTarget } from "../executor.js";
import { hadamardTransform } from "../hadamard.js";
import type { MergePlan, SharedPlan, Weights } from "../plan/plan.js";
import { memberOf, mostKvHeads } from "../plan/rows.js";
import { weightBase } from "../plan/weights.js";
import { rotateHead, rotationBy } from "../rope.js";
import type { LayerShape, RopeSpec } from "../shape.js";
import { keyPlane, type Plane, readHead, valuePlane } from "./planes.js";

/** New rows of a layer, in the types of the cache, row after row whatever the layout. */
export interface FoldedLayer {
  /** [rows, key row bytes] */
  readonly keys: Uint8Array;
  /** [rows, value row bytes] */
  readonly values: Uint8Array;
}

/** How keys turn on their way into a row; null for values, and for keys that are combined as they lie. */
interface Turn {
  readonly rope: RopeSpec;
  /** Hadamard block of the stored keys; 0 = none. */
  readonly hadamard: number;
  /** Positions from where a stored key is rotated to, to where the row wants it. */
  delta(head: number, cell: number, row: number): number;
}

/**
 * Computes all rows of one layer. Reads the target, writes nothing in it.
 *
 * A head of a row is the raw bytes of a cell when only that cell counts, with weight 1, and needs no rotation. Else it
 * is the weighted sum of the decoded members, each rotated first where the plan says so; members of weight 0 are not
 * read. Sums commute with the Hadamard rotation of quantised caches, so they are taken in the stored basis; RoPE does
 * not commute with it, so it is undone around a rotation.
 *
 * @param poll called before every row; what it throws ends the work
 */
export function foldLayer(
  target: MemoryTarget,
  plan: MergePlan,
  layerIndex: number,
  poll: () => void,
): FoldedLayer {
  const layer = target.shape.layers[layerIndex]!;
  const keys = keyPlane(target, layerIndex);
  const values = valuePlane(target, layerIndex);
  if (plan.layout === "composite") {
    const cellOf = (head: number, row: number): number => memberOf(plan, layerIndex, head, row);
    return {
      keys: gather(target, keys, plan.rows, cellOf, poll),
      values: gather(target, values, plan.rows, cellOf, poll),
    };
  }
  const turn = turnOf(target, plan, layer, layerIndex);
  return {
    keys: combine(target, keys, plan, layerIndex, plan.keyWeights, turn, poll),
    values: combine(target, values, plan, layerIndex, plan.valueWeights, null, poll),
  };
}

function turnOf(target: MemoryTarget, plan: SharedPlan, layer: LayerShape, layerIndex: number): Turn | null {
  if (plan.keyFrame === "stored" || layer.rope === null) return null;
  const sources = target.sources[layerIndex] ?? null;
  const sourceOf = (head: number, cell: number): number =>
    sources === null ? target.positions[cell]! : sources[head * plan.cells + cell]!;
  return {
    rope: layer.rope,
    hadamard: layer.hadamard.key,
    delta: (head, cell, row) => plan.positions[row]! - sourceOf(head, cell),
  };
}

/** Composite rows: the bytes of one cell for each head. */
function gather(
  target: MemoryTarget,
  plane: Plane,
  rows: number,
  cellOf: (head: number, row: number) => number,
  poll: () => void,
): Uint8Array {
  const out = new Uint8Array(rows * plane.rowBytes);
  for (let row = 0; row < rows; row++) {
    poll();
    for (let head = 0; head < plane.kvHeads; head++) {
      readHead(plane, target.slots[cellOf(head, row)]!, head, headOf(out, plane, row, head));
    }
  }
  return out;
}

/** The bytes of one head of one row. */
export function headOf(rows: Uint8Array, plane: Plane, row: number, head: number): Uint8Array {
  const start = row * plane.rowBytes + head * plane.headBytes;
  return rows.subarray(start, start + plane.headBytes);
}

function combine(
  target: MemoryTarget,
  plane: Plane,
  plan: SharedPlan,
  layerIndex: number,
  weights: Weights,
  turn: Turn | null,
  poll: () => void,
): Uint8Array {
  const out = new Uint8Array(plan.rows * plane.rowBytes);
  const read = headReader(target, plane);
  const kvHeads = mostKvHeads(target.shape);
  for (let row = 0; row < plan.rows; row++) {
    poll();
    for (let head = 0; head < plane.kvHeads; head++) {
      const base = weightBase(weights, plan.members.length, kvHeads, layerIndex, head);
      const terms = termsOf(
        plan,
        row,
        weights.data.subarray(base),
        (cell) => turn?.delta(head, cell, row) ?? 0,
      );
      const bytes = headOf(out, plane, row, head);
      const [only] = terms;
      if (terms.length === 1 && only!.weight === 1 && only!.delta === 0) {
        readHead(plane, target.slots[only!.cell]!, head, bytes);
      } else
        encodeRow(
          plane.dtype,
          sum(terms, plane.channels, turn, (cell) => read(cell, head)),
          bytes,
        );
    }
  }
  return out;
}

interface Term {
  readonly cell: number;
  readonly weight: number;
  /** Positions by which the key turns; 0 = not at all. */
  readonly delta: number;
}

/** Members of a row that count. */
function termsOf(
  plan: SharedPlan,
  row: number,
  weights: Float32Array,
  deltaOf: (cell: number) => number,
): Term[] {
  const terms: Term[] = [];
  for (let i = plan.offsets[row]!; i < plan.offsets[row + 1]!; i++) {
    const cell = plan.members[i]!;
    if (weights[i] !== 0) terms.push({ cell, weight: weights[i]!, delta: deltaOf(cell) });
  }
  return terms;
}

function sum(
  terms: readonly Term[],
  channels: number,
  turn: Turn | null,
  read: (cell: number) => Float32Array,
): Float64Array {
  const total = new Float64Array(channels);
  for (const { cell, weight, delta } of terms) {
    const head = new Float64Array(read(cell));
    if (turn !== null && delta !== 0) rotate(head, turn, delta);
    for (let i = 0; i < channels; i++) total[i] = total[i]! + weight * head[i]!;
  }
  return total;
}

function rotate(head: Float64Array, turn: Turn, delta: number): void {
  if (turn.hadamard > 0) hadamardTransform(head, 0, head.length, turn.hadamard);
  rotateHead(head, 0, turn.rope, rotationBy(turn.rope, delta));
  if (turn.hadamard > 0) hadamardTransform(head, 0, head.length, turn.hadamard);
}

function headReader(target: MemoryTarget, plane: Plane): (cell: number, head: number) => Float32Array {
  const bytes = new Uint8Array(plane.headBytes);
  const floats = new Float32Array(plane.channels);
  return (cell, head) => {
    readHead(plane, target.slots[cell]!, head, bytes);
    return decodeRow(plane.dtype, bytes, plane.channels, floats);
  };
}
