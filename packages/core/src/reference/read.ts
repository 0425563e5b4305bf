/** Keys and values of raw memory as floats, in the frames that views hand out. */
import { decodeRow } from "../dtype/dtypes.js";
import type { MemoryTarget } from "../executor.js";
import { hadamardTransform } from "../hadamard.js";
import { type Rotation, rotateHead, rotationBy } from "../rope.js";
import type { KeyFrame } from "../view.js";
import { keyPlane, type Plane, readHead, valuePlane } from "./planes.js";

/** Changes one decoded head, in double, before it is rounded and handed out. */
type Finish = (numbers: Float64Array, head: number, cell: number) => void;

function readPlane(target: MemoryTarget, plane: Plane, finish: Finish): Float32Array {
  const { cells } = target.shape;
  const { kvHeads, channels } = plane;
  const out = new Float32Array(kvHeads * cells * channels);
  const bytes = new Uint8Array(plane.headBytes);
  const floats = new Float32Array(channels);
  const numbers = new Float64Array(channels);
  for (let cell = 0; cell < cells; cell++) {
    for (let head = 0; head < kvHeads; head++) {
      const start = (head * cells + cell) * channels;
      readHead(plane, target.slots[cell]!, head, bytes);
      numbers.set(decodeRow(plane.dtype, bytes, channels, floats));
      finish(numbers, head, cell);
      out.set(numbers, start);
    }
  }
  return out;
}

const undoHadamard = (block: number): Finish =>
  block === 0 ? () => {} : (numbers) => hadamardTransform(numbers, 0, numbers.length, block);

/** Keys of one layer, Hadamard undone. [kvHeads, cells, keyDim] */
export function readKeys(target: MemoryTarget, layerIndex: number, frame: KeyFrame): Float32Array {
  const layer = target.shape.layers[layerIndex]!;
  const plain = undoHadamard(layer.hadamard.key);
  const unrotate = frame === "unrotated" ? unrotation(target, layerIndex) : () => {};
  return readPlane(target, keyPlane(target, layerIndex), (numbers, head, cell) => {
    plain(numbers, head, cell);
    unrotate(numbers, head, cell);
  });
}

/** Values of one layer, Hadamard undone. [kvHeads, cells, valueDim] */
export function readValues(target: MemoryTarget, layerIndex: number): Float32Array {
  const layer = target.shape.layers[layerIndex]!;
  return readPlane(target, valuePlane(target, layerIndex), undoHadamard(layer.hadamard.value));
}

/** Turns keys back to position 0. The heads of a cell mostly share a position, so the last rotation is kept. */
function unrotation(target: MemoryTarget, layerIndex: number): Finish {
  const { rope } = target.shape.layers[layerIndex]!;
  if (rope === null) return () => {};
  const sources = target.sources[layerIndex] ?? null;
  let position = 0;
  let rotation: Rotation = rotationBy(rope, 0);
  return (numbers, head, cell) => {
    const source = sources === null ? target.positions[cell]! : sources[head * target.shape.cells + cell]!;
    if (source !== position) rotation = rotationBy(rope, -source, rotation);
    position = source;
    rotateHead(numbers, 0, rope, rotation);
  };
}
