/** Random valid plans for the tests of this package, as fast-check arbitraries. */
import fc from "fast-check";
import {
  type CacheView,
  compositePlan,
  type MergePlan,
  mostKvHeads,
  PIN_LEVEL,
  type SharedRow,
  sharedPlan,
} from "../src/index.js";

/** Seed of all properties, so that a failure is the same everywhere. */
export const SEED = 20260;

/** Weights that a test can multiply a few times without leaving f32's comfortable range. */
const weight = fc.oneof(fc.constant(1), fc.constant(0), fc.double({ min: -2, max: 2, noNaN: true }));

/** A choice of members: `row[i]` is the row of cell i, or -1. Every row but the last may be empty, and is then left out. */
const assignment = (cells: number): fc.Arbitrary<number[]> =>
  fc.array(fc.integer({ min: -1, max: Math.max(0, cells - 1) }), { minLength: cells, maxLength: cells });

function rowsOf(choice: readonly number[]): number[][] {
  const groups = new Map<number, number[]>();
  choice.forEach((row, cell) => {
    if (row >= 0) groups.set(row, [...(groups.get(row) ?? []), cell]);
  });
  const rows = [...groups.values()];
  return rows.length > 0 ? rows : [[0]];
}

export interface PlanShape {
  readonly keyFrame?: "stored" | "target";
  /** Only rows that keep one cell as it is. */
  readonly keepOnly?: boolean;
}

/** A valid shared plan for a view: any members, weights of any sign, rising positions, biases. */
export function sharedPlans(view: CacheView, shape: PlanShape = {}): fc.Arbitrary<MergePlan> {
  const { cells } = view.shape;
  const perCell = <T>(of: fc.Arbitrary<T>): fc.Arbitrary<T[]> =>
    fc.array(of, { minLength: cells, maxLength: cells });
  return fc
    .record({
      choice: assignment(cells),
      steps: perCell(fc.nat(3)),
      key: perCell(weight),
      value: perCell(weight),
      bias: perCell(fc.constantFrom(0, Math.LN2, -1)),
      byHead: fc.boolean(),
    })
    .map(({ choice, steps, key, value, bias, byHead }) => {
      let position = -1;
      const groups = shape.keepOnly ? rowsOf(choice).map((members) => [members[0]!]) : rowsOf(choice);
      const rows = groups.map((members, row): SharedRow => {
        position += Math.max(row === 0 ? 1 : 0, steps[row]!);
        if (members.length === 1) return { members, position };
        const [keyWeights, valueWeights] = [
          members.map((cell) => key[cell]!),
          members.map((cell) => value[cell]!),
        ];
        return { members, position, bias: bias[row]!, keyWeights, valueWeights };
      });
      const turn = (row: number, head: number, weights: readonly number[]): number[] =>
        rows[row]!.members.map((_, i, all) =>
          all.length === 1 ? 1 : weights[rows[row]!.members[(i + head) % all.length]!]!,
        );
      const headWeights = (_layer: number, head: number, row: number) => ({
        key: turn(row, head, key),
        value: turn(row, head, value),
      });
      const options = { keyFrame: shape.keyFrame ?? ("stored" as const) };
      return sharedPlan(view, rows, byHead ? { ...options, headWeights } : options);
    });
}

/** A valid composite plan for a view without biases. */
export function compositePlans(view: CacheView): fc.Arbitrary<MergePlan> {
  const { cells, layers } = view.shape;
  const kvHeads = mostKvHeads(view.shape);
  const order = fc.shuffledSubarray(
    Array.from({ length: cells }, (_, cell) => cell),
    { minLength: cells, maxLength: cells },
  );
  return fc
    .record({
      rows: fc.integer({ min: 1, max: cells }),
      orders: fc.array(order, { minLength: layers.length * kvHeads, maxLength: layers.length * kvHeads }),
      pinned: fc.boolean(),
    })
    .map(({ rows, orders, pinned }) => {
      const members = orders.flatMap((all, group) => {
        const head = group % kvHeads;
        const layer = layers[Math.floor(group / kvHeads)]!;
        const own = head < layer.kvHeads ? all : orders[group - head]!;
        // a pinned cell sits in row 0 of every head
        return pinned ? [0, ...own.filter((cell) => cell !== 0)].slice(0, rows) : own.slice(0, rows);
      });
      const pins = new Uint8Array(cells);
      pins[0] = PIN_LEVEL.exact;
      return compositePlan(view, Uint32Array.from(members), { pins: pinned ? pins : null });
    });
}

/** Plans of both layouts. */
export const anyPlans = (view: CacheView): fc.Arbitrary<MergePlan> =>
  fc.oneof(
    sharedPlans(view),
    sharedPlans(view, { keyFrame: "target" }),
    sharedPlans(view, { keepOnly: true }),
    ...(view.bias === null ? [compositePlans(view)] : []),
  );
