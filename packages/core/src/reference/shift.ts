/** The definition of a key shift: stored keys turned one head at a time in double precision. */
import { DTYPES, decodeRow, encodeRow, rowBytes } from "../dtype/dtypes.js";
import { KvfoldError, throwIfAborted } from "../errors.js";
import type { FoldTransaction, KeyShift, MemoryTarget, ShiftOptions } from "../executor.js";
import { hadamardTransform } from "../hadamard.js";
import { rotateHead, rotationBy } from "../rope.js";
import type { LayerShape } from "../shape.js";
import { type FoldedLayer, headOf } from "./fold-layer.js";
import { keyPlane, readRow } from "./planes.js";
import { checkTarget } from "./supports.js";
import { createTransaction, type FoldFault } from "./transaction.js";

/** Computes every turned key; the transaction writes them. */
export async function prepareShift(
  target: MemoryTarget,
  shift: KeyShift,
  { signal }: ShiftOptions,
  fault: FoldFault,
): Promise<FoldTransaction> {
  throwIfAborted(signal, "reference");
  checkTarget(target);
  checkShift(target, shift);
  const layers: FoldedLayer[] = [];
  for (let layer = 0; layer < target.shape.layers.length; layer++) {
    fault({ phase: "prepare", layer, row: 0 });
    layers.push({ keys: turnedKeys(target, shift, layer), values: new Uint8Array(0) });
    throwIfAborted(signal, "reference");
  }
  return createTransaction(target, target.slots, layers, null, fault);
}

function checkShift(target: MemoryTarget, { deltas, layers = null }: KeyShift): void {
  const { cells, layers: shapes } = target.shape;
  const wrong = (what: string): KvfoldError => new KvfoldError("KVFOLD_ARGUMENT", what, { who: "reference" });
  if (!(deltas instanceof Int32Array) || deltas.length !== cells) {
    throw wrong(`${deltas?.length ?? "no"} deltas for ${cells} cells`);
  }
  if (layers === null) return;
  if (layers.length !== shapes.length) throw wrong(`${layers.length} layers of deltas for ${shapes.length}`);
  layers.forEach((own, index) => {
    const needed = shapes[index]!.kvHeads * cells;
    if (own === null || (own instanceof Int32Array && own.length === needed)) return;
    throw wrong(`the deltas of layer ${index} are not ${needed} whole numbers`);
  });
}

/** Key rows of all cells [cells, key row bytes]; none where the layer has no RoPE. */
function turnedKeys(target: MemoryTarget, { deltas, layers = null }: KeyShift, index: number): Uint8Array {
  const layer = target.shape.layers[index]!;
  if (layer.rope === null) return new Uint8Array(0);
  const plane = keyPlane(target, index);
  const { cells } = target.shape;
  const own = layers?.[index] ?? null;
  const rows = new Uint8Array(cells * plane.rowBytes);
  for (let cell = 0; cell < cells; cell++) {
    readRow(plane, target.slots[cell]!, rows.subarray(cell * plane.rowBytes, (cell + 1) * plane.rowBytes));
    for (let head = 0; head < plane.kvHeads; head++) {
      const delta = own === null ? deltas[cell]! : own[head * cells + cell]!;
      if (delta !== 0) turn(headOf(rows, plane, cell, head), layer, delta);
    }
  }
  return rows;
}

/** Turns the bytes of one head in place. Channels beyond the rotated ones are not encoded again. */
function turn(bytes: Uint8Array, layer: LayerShape, delta: number): void {
  const { keyDim, keyType, hadamard, rope } = layer;
  const { blockChannels } = DTYPES[keyType];
  const turned = hadamard.key > 1 ? keyDim : Math.ceil(rope!.dims / blockChannels) * blockChannels;
  const head = new Float64Array(decodeRow(keyType, bytes, keyDim));
  if (hadamard.key > 0) hadamardTransform(head, 0, keyDim, hadamard.key);
  rotateHead(head, 0, rope!, rotationBy(rope!, delta));
  if (hadamard.key > 0) hadamardTransform(head, 0, keyDim, hadamard.key);
  encodeRow(keyType, head.subarray(0, turned), bytes.subarray(0, rowBytes(keyType, turned)));
}
