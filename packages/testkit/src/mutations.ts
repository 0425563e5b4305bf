/** Single faults in a plan, each with the error code that the plan check must give. */
import { type MergePlan, PIN_LEVEL } from "@kvfold/core";
import { type Mutation, mutation, put } from "./mutation.js";
import { valueFaults } from "./value-mutations.js";

/** A change that needs a plan of at least some rows. */
const withRows =
  (rows: number, apply: (plan: MergePlan) => MergePlan) =>
  (plan: MergePlan): MergePlan | null =>
    plan.rows >= rows ? apply(plan) : null;

/** The first row of one member of weight 1, copied as it is; -1 without one. */
function keptRow(plan: MergePlan): number {
  if (plan.layout !== "shared" || plan.keyFrame !== "stored") return -1;
  const { offsets, keyWeights, valueWeights, members } = plan;
  for (let row = 0; row < plan.rows; row++) {
    const at = offsets[row]!;
    if (offsets[row + 1]! - at !== 1) continue;
    const one = (data: Float32Array): boolean =>
      data.every((weight, i) => i % members.length !== at || weight === 1);
    if (one(keyWeights.data) && one(valueWeights.data)) return row;
  }
  return -1;
}

/** The cell that a row of a shared plan has as its only member. */
const onlyMember = (plan: MergePlan, row: number): number =>
  plan.layout === "shared" ? plan.members[plan.offsets[row]!]! : -1;

/** Pins for all cells: one cell at a level, the others free. */
const pinning = (plan: MergePlan, cell: number, level: number): Uint8Array => {
  const pins = new Uint8Array(plan.cells);
  pins[cell] = level;
  return pins;
};

/** A cell that no row contains, or -1. */
function droppedCell(plan: MergePlan): number {
  const used = new Set(plan.members);
  for (let cell = 0; cell < plan.cells; cell++) if (!used.has(cell)) return cell;
  return -1;
}

/** A cell that shares its row with another, or -1. */
function mergedCell(plan: MergePlan): number {
  if (plan.layout !== "shared") return -1;
  for (let row = 0; row < plan.rows; row++) {
    if (plan.offsets[row + 1]! - plan.offsets[row]! > 1) return plan.members[plan.offsets[row]!]!;
  }
  return -1;
}

const weights = (plan: MergePlan, side: "keyWeights" | "valueWeights", value: number): MergePlan | null =>
  plan.layout === "shared"
    ? { ...plan, [side]: { ...plan[side], data: put(plan[side].data, 0, value) } }
    : null;

const bias = (plan: MergePlan, row: number, value: number): MergePlan => ({
  ...plan,
  bias: put(plan.bias ?? new Float32Array(plan.rows), row, value),
});

const shapeFaults: readonly Mutation[] = [
  mutation("made for more cells", "KVFOLD_PLAN_SHAPE", (plan) => ({ ...plan, cells: plan.cells + 1 })),
  mutation("one position short", "KVFOLD_PLAN_SHAPE", (plan) => ({
    ...plan,
    positions: plan.positions.slice(1),
  })),
  mutation("one count short", "KVFOLD_PLAN_SHAPE", (plan) => ({ ...plan, counts: plan.counts.slice(1) })),
  mutation("bias of another length", "KVFOLD_PLAN_SHAPE", (plan) => ({
    ...plan,
    bias: new Float32Array(plan.rows + 1),
  })),
  mutation("pins of another length", "KVFOLD_PLAN_SHAPE", (plan) => ({
    ...plan,
    pins: new Uint8Array(plan.cells + 1),
  })),
  mutation("members cut", "KVFOLD_PLAN_SHAPE", (plan) => ({ ...plan, members: plan.members.slice(1) })),
  mutation("offsets do not start at 0", "KVFOLD_PLAN_SHAPE", (plan) =>
    plan.layout === "shared" ? { ...plan, offsets: put(plan.offsets, 0, 1) } : null,
  ),
  mutation("offsets fall", "KVFOLD_PLAN_SHAPE", (plan) =>
    plan.layout === "shared" && plan.rows >= 2
      ? { ...plan, offsets: put(plan.offsets, 1, plan.members.length + 1) }
      : null,
  ),
  mutation("key weights cut", "KVFOLD_PLAN_SHAPE", (plan) =>
    plan.layout === "shared"
      ? { ...plan, keyWeights: { ...plan.keyWeights, data: plan.keyWeights.data.slice(1) } }
      : null,
  ),
  mutation("another number of layers", "KVFOLD_PLAN_SHAPE", (plan) =>
    plan.layout === "composite" ? { ...plan, layers: plan.layers + 1 } : null,
  ),
];

const memberFaults: readonly Mutation[] = [
  mutation("member past the cache", "KVFOLD_PLAN_MEMBER_RANGE", (plan) => ({
    ...plan,
    members: put(plan.members, plan.members.length - 1, plan.cells),
  })),
  mutation("member of 2^32 - 1", "KVFOLD_PLAN_MEMBER_RANGE", (plan) => ({
    ...plan,
    members: put(plan.members, 0, 0xffffffff),
  })),
  mutation("one cell twice", "KVFOLD_PLAN_NOT_DISJOINT", (plan) =>
    plan.members.length >= 2 && plan.rows >= 2
      ? { ...plan, members: put(plan.members, 1, plan.members[0]!) }
      : null,
  ),
];

const numberFaults: readonly Mutation[] = [
  mutation(
    "positions fall",
    "KVFOLD_PLAN_ORDER",
    withRows(2, (plan) => ({
      ...plan,
      positions: put(plan.positions, 0, plan.positions.at(-1)! + 1),
    })),
  ),
  mutation("a token invented", "KVFOLD_PLAN_COUNTS", (plan) => ({
    ...plan,
    counts: put(plan.counts, 0, plan.counts[0]! + 1),
  })),
  mutation("a row without a token", "KVFOLD_PLAN_COUNTS", (plan) => ({
    ...plan,
    counts: put(plan.counts, 0, 0),
    dropped: plan.dropped + plan.counts[0]!,
  })),
  mutation("a negative position", "KVFOLD_PLAN_ORDER", (plan) => ({
    ...plan,
    positions: put(plan.positions, 0, -1),
  })),
  mutation("a token lost", "KVFOLD_PLAN_COUNTS", (plan) =>
    plan.dropped > 0 ? { ...plan, dropped: plan.dropped - 1 } : null,
  ),
  mutation("NaN as key weight", "KVFOLD_PLAN_WEIGHT", (plan) => weights(plan, "keyWeights", Number.NaN)),
  mutation("infinite value weight", "KVFOLD_PLAN_WEIGHT", (plan) =>
    weights(plan, "valueWeights", Number.POSITIVE_INFINITY),
  ),
  mutation("bias of 16", "KVFOLD_PLAN_BIAS", (plan) => bias(plan, 0, 16)),
  mutation("bias of NaN", "KVFOLD_PLAN_BIAS", (plan) => bias(plan, plan.rows - 1, Number.NaN)),
  mutation("bias on a kept cell", "KVFOLD_PLAN_BIAS", (plan) => {
    const row = keptRow(plan);
    return row < 0 ? null : bias(plan, row, (plan.bias?.[row] ?? 0) + 1);
  }),
];

const pinFaults: readonly Mutation[] = [
  mutation("pinned cell dropped", "KVFOLD_PLAN_PIN", (plan) => {
    const cell = droppedCell(plan);
    return cell < 0 ? null : { ...plan, pins: pinning(plan, cell, PIN_LEVEL.absorb) };
  }),
  mutation("a pin level that does not exist", "KVFOLD_PLAN_PIN", (plan) => ({
    ...plan,
    pins: pinning(plan, plan.members[0]!, PIN_LEVEL.exact + 1),
  })),
  mutation("exact pin merged", "KVFOLD_PLAN_PIN", (plan) => {
    const cell = mergedCell(plan);
    return cell < 0 ? null : { ...plan, pins: pinning(plan, cell, PIN_LEVEL.exact) };
  }),
  mutation("exact pin with another weight", "KVFOLD_PLAN_PIN", (plan) => {
    const row = keptRow(plan);
    if (row < 0 || plan.layout !== "shared") return null;
    const data = put(plan.valueWeights.data, plan.offsets[row]!, 0.5);
    return {
      ...plan,
      valueWeights: { ...plan.valueWeights, data },
      pins: pinning(plan, onlyMember(plan, row), PIN_LEVEL.exact),
    };
  }),
];

/** Every fault of the kit. Each breaks one rule and leaves the others intact. */
export const MUTATIONS: readonly Mutation[] = [
  ...shapeFaults,
  ...memberFaults,
  ...numberFaults,
  ...pinFaults,
  ...valueFaults,
];
