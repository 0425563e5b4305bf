/** Valid plans out of plain choices: what the generators, the suites and your own tests make plans with. */
import {
  type CacheShape,
  type CompositePlan,
  mostKvHeads,
  PLAN_VERSION,
  type SharedPlan,
  type Weights,
} from "@kvfold/core";

/** What a plan has to fit. A `CacheView` is one. */
export interface PlanSubject {
  readonly shape: CacheShape;
  readonly positions: Int32Array;
  readonly counts: Uint32Array;
  readonly bias: Float32Array | null;
}

/** The choices behind a shared plan. */
export interface SharedChoice {
  /** Group of each cell, -1 = dropped. The last cell is always kept. [cells] */
  readonly group: readonly number[];
  /** Only neighbours merge: a group ends where the next cell has another number. */
  readonly adjacent?: boolean;
  readonly keyScope?: Weights["scope"];
  readonly valueScope?: Weights["scope"];
  /** Weights, repeated as often as needed; default: 1 / members. */
  readonly weights?: readonly number[];
  /** Rows of one member have weight 1, so that they are identity rows. [true] */
  readonly keepSingles?: boolean;
  /** 0: keys as they lie. n > 0: keys re-rotated to position floor(p / n) of the row's first member. [0] */
  readonly squeeze?: number;
  /** Rows that absorb carry the logarithm of their count as bias. [false] */
  readonly logCount?: boolean;
}

/** How many numbers a scope stores for one member. */
function copies(shape: CacheShape, scope: Weights["scope"]): number {
  return scope === "all" ? 1 : shape.layers.length * (scope === "layer" ? 1 : mostKvHeads(shape));
}

/** Members of each row, ascending; rows ordered by position, then by their first member. */
function rowsOf(subject: PlanSubject, choice: SharedChoice): number[][] {
  const groups = new Map<string, number[]>();
  let run = 0;
  choice.group.forEach((group, cell) => {
    const own = group < 0 && cell === choice.group.length - 1 ? choice.group.length : group;
    if (cell > 0 && choice.group[cell - 1] !== group) run += 1;
    if (own < 0) return;
    const key = choice.adjacent ? `${own}/${run}` : `${own}`;
    groups.set(key, [...(groups.get(key) ?? []), cell]);
  });
  const last = (row: readonly number[]): number => subject.positions[row.at(-1)!]!;
  return [...groups.values()].sort((a, b) => last(a) - last(b) || a[0]! - b[0]!);
}

/** Positions of the rows: their last member's, or squeezed and never falling. [rows] */
function rowPositions(subject: PlanSubject, rows: readonly number[][], squeeze: number): Int32Array {
  let highest = 0;
  return Int32Array.from(rows, (row) => {
    if (squeeze === 0) return subject.positions[row.at(-1)!]!;
    highest = Math.max(highest, Math.floor(subject.positions[row[0]!]! / squeeze));
    return highest;
  });
}

/**
 * A shared plan.
 *
 *     group    0 1 1 2 -1 3        weights default to 1 / members
 *     cells    a b c d  e f   ->   a [bc] d f, e is dropped
 */
export function shared(subject: PlanSubject, choice: SharedChoice): SharedPlan {
  const { keyScope = "all", valueScope = "all", keepSingles = true, squeeze = 0, logCount = false } = choice;
  const rows = rowsOf(subject, choice);
  const members = rows.flat();
  const offsets = [0];
  for (const row of rows) offsets.push(offsets.at(-1)! + row.length);
  const own = rows.flatMap((row) => row.map(() => row.length));
  const weights = (scope: Weights["scope"], shift: number): Weights => ({
    scope,
    data: Float32Array.from({ length: copies(subject.shape, scope) * members.length }, (_, i) => {
      const size = own[i % members.length]!;
      if (size === 1 && keepSingles) return 1;
      return choice.weights ? choice.weights[(i + shift) % choice.weights.length]! : 1 / size;
    }),
  });
  const counts = Uint32Array.from(rows, (row) => row.reduce((sum, cell) => sum + subject.counts[cell]!, 0));
  const biased = logCount || subject.bias !== null;
  return {
    version: PLAN_VERSION,
    layout: "shared",
    cells: subject.shape.cells,
    rows: rows.length,
    offsets: Uint32Array.from(offsets),
    members: Uint32Array.from(members),
    keyWeights: weights(keyScope, 0),
    valueWeights: weights(valueScope, 5),
    keyFrame: squeeze > 0 ? "target" : "stored",
    positions: rowPositions(subject, rows, squeeze),
    counts,
    dropped: sum(subject.counts) - sum(counts),
    bias: biased
      ? Float32Array.from(rows, (row, i) =>
          row.length > 1 ? Math.log(counts[i]!) : (subject.bias?.[row[0]!] ?? 0),
        )
      : null,
    pins: null,
    fit: null,
    values: null,
  };
}

const sum = (values: Uint32Array): number => values.reduce((total, value) => total + value, 0);

/** The choices behind a composite plan. */
export interface CompositeChoice {
  readonly rows: number;
  /** For each layer and head a number for each cell; the cells with the smallest are kept. [layers * kvHeads][cells] */
  readonly orders: readonly (readonly number[])[];
  /** Members ascend; otherwise they come in the order of their numbers. [true] */
  readonly sorted?: boolean;
}

/** The first `count` cells by a number each, ascending again if wanted. */
function firstBy(
  order: readonly number[],
  cells: readonly number[],
  count: number,
  sorted: boolean,
): number[] {
  const kept = [...cells].sort((a, b) => order[a]! - order[b]! || a - b).slice(0, count);
  return sorted ? kept.sort((a, b) => a - b) : kept;
}

/**
 * Members of one head whose biases are those of the first head: a bias belongs to a whole cell, so all heads of a row
 * take cells of one bias. Without biases any cells.
 */
function likeFirst(
  subject: PlanSubject,
  first: readonly number[],
  order: readonly number[],
  sorted: boolean,
): number[] {
  const biasOf = (cell: number): number => subject.bias?.[cell] ?? 0;
  const all = Array.from({ length: subject.shape.cells }, (_, cell) => cell);
  const queues = new Map<number, number[]>();
  for (const bias of new Set(first.map(biasOf))) {
    const same = (cell: number): boolean => biasOf(cell) === bias;
    queues.set(bias, firstBy(order, all.filter(same), first.filter(same).length, sorted));
  }
  return first.map((cell) => queues.get(biasOf(cell))!.shift()!);
}

/** A composite plan; the rows take over the last positions of the cache. */
export function composite(subject: PlanSubject, choice: CompositeChoice): CompositePlan {
  const { shape } = subject;
  const { rows, orders, sorted = true } = choice;
  const kvHeads = mostKvHeads(shape);
  const all = Array.from({ length: shape.cells }, (_, cell) => cell);
  const first = firstBy(orders[0]!, all, rows, sorted);
  const heads = shape.layers.flatMap((layer, l) =>
    Array.from({ length: kvHeads }, (_, h) =>
      likeFirst(subject, first, orders[l * kvHeads + (h < layer.kvHeads ? h : 0)]!, sorted),
    ),
  );
  const fewest = (row: number): number => Math.min(...heads.map((members) => subject.counts[members[row]!]!));
  const counts = Uint32Array.from({ length: rows }, (_, row) => fewest(row));
  return {
    version: PLAN_VERSION,
    layout: "composite",
    cells: shape.cells,
    rows,
    layers: shape.layers.length,
    kvHeads,
    members: Uint32Array.from(heads.flat()),
    positions: subject.positions.slice(shape.cells - rows),
    counts,
    dropped: sum(subject.counts) - sum(counts),
    bias: subject.bias && Float32Array.from(first, (cell) => subject.bias![cell]!),
    pins: null,
    fit: null,
    values: null,
  };
}
