/** What the rows of a fold have to be: within the bound of the reference, and where they are only kept, the old bytes. */
import {
  keptCell,
  keyStaysPut,
  type MemoryTarget,
  type MergePlan,
  memberOf,
  mostKvHeads,
  ownValues,
} from "@kvfold/core";
import { boundFor } from "./bounds.js";
import { expectWithin } from "./expect-within.js";
import { readRows, rowBytesOf, type Side } from "./read-rows.js";

const fail = (message: string): never => {
  throw new Error(message);
};

/** Largest |x| of the cells in use times the largest sum of |weights| of a row. */
function magnitudeOf(memory: MemoryTarget, plan: MergePlan, layer: number, side: Side): number {
  const largest = readRows(memory, layer, side, memory.slots).reduce(
    (max, x) => Math.max(max, Math.abs(x)),
    0,
  );
  const given = side === "values" ? (plan.values?.data ?? new Float32Array()) : new Float32Array();
  const most = given.reduce((max, x) => Math.max(max, Math.abs(x)), largest);
  if (plan.layout === "composite") return most;
  const { data } = side === "keys" ? plan.keyWeights : plan.valueWeights;
  const heaviest = data.reduce((max, weight) => Math.max(max, Math.abs(weight)), 0);
  return Math.max(most, largest * heaviest * mostMembers(plan));
}

function mostMembers(plan: MergePlan): number {
  if (plan.layout === "composite") return 1;
  const { offsets } = plan;
  return plan.positions.reduce((most, _, row) => Math.max(most, offsets[row + 1]! - offsets[row]!), 1);
}

/** Elements of the value rows of one layer that a fit solves for. */
function eachSolved(
  plan: MergePlan,
  shape: MemoryTarget["shape"],
  layerIndex: number,
  visit: (from: number, to: number) => void,
): void {
  if (plan.fit === null) return;
  const { kvHeads, valueDim } = shape.layers[layerIndex]!;
  const first = layerIndex * mostKvHeads(shape) * plan.rows;
  for (let head = 0; head < kvHeads; head++) {
    for (let row = 0; row < plan.rows; row++) {
      const from = (row * kvHeads + head) * valueDim;
      if (plan.fit.free[first + head * plan.rows + row] !== 0) visit(from, from + valueDim);
    }
  }
}

/** Every destination row lies within the bound of the row that the reference stores. */
export function expectReferenceRows(
  before: MemoryTarget,
  after: MemoryTarget,
  reference: MemoryTarget,
  plan: MergePlan,
  destinations: Uint32Array,
): void {
  before.shape.layers.forEach((layer, l) => {
    for (const side of ["keys", "values"] as const) {
      const bound = boundFor("fold", side === "keys" ? layer.keyType : layer.valueType, {
        members: mostMembers(plan),
        magnitude: magnitudeOf(before, plan, l, side),
        rotated: side === "keys" && plan.layout === "shared" && plan.keyFrame === "target",
        hadamard: side === "keys" ? layer.hadamard.key : plan.values === null ? 0 : layer.hadamard.value,
        against: "stored",
      });
      const got = readRows(after, l, side, destinations);
      const want = readRows(reference, l, side, destinations);
      // what is solved for is judged by what it answers (fit-checks.ts)
      if (side === "values")
        eachSolved(plan, before.shape, l, (from, to) => got.set(want.subarray(from, to), from));
      expectWithin(got, want, bound, `${side} of layer ${l}, rows against the reference`);
    }
  });
}

/** Rows that only keep a cell, and all slices of composite rows, are the old bytes. */
export function expectKeptBytes(
  before: MemoryTarget,
  after: MemoryTarget,
  plan: MergePlan,
  destinations: Uint32Array,
): void {
  const cache = {
    shape: before.shape,
    positions: before.positions,
    sources: (layer: number) => before.sources[layer]!,
  };
  const own = ownValues(plan);
  const kvHeads = mostKvHeads(before.shape);
  const keptBy = (side: Side, layer: number, head: number, row: number): number => {
    if (side === "values" && own?.[(layer * kvHeads + head) * plan.rows + row]) return -1;
    if (plan.layout === "composite") return memberOf(plan, layer, head, row);
    const cell = keptCell(plan, row);
    if (cell >= 0 && (side === "values" || keyStaysPut(plan, row, cell, cache))) return cell;
    return -1;
  };
  before.shape.layers.forEach((layer, l) => {
    for (const side of ["keys", "values"] as const) {
      destinations.forEach((slot, row) => {
        const is = rowBytesOf(after, l, side, slot);
        const size = is.length / layer.kvHeads;
        for (let head = 0; head < layer.kvHeads; head++) {
          const cell = keptBy(side, l, head, row);
          if (cell < 0) continue;
          const was = rowBytesOf(before, l, side, before.slots[cell]!).subarray(
            head * size,
            (head + 1) * size,
          );
          if (was.some((byte, i) => byte !== is[head * size + i])) {
            fail(`kept bytes: ${side} of layer ${l}, head ${head}, row ${row} differs from cell ${cell}`);
          }
        }
      });
    }
  });
}
