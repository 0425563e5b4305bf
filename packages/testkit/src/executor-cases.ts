/** The standard cases of `testExecutor`: every type, layout, rotation and kind of plan at least once. */
import { type DType, type MergePlan, mostKvHeads, type QuerySample } from "@kvfold/core";
import type { FakeTargetOptions } from "./fake-target.js";
import { type FitChoice, fitted, givenValues } from "./plan-values.js";
import { composite, type PlanSubject, shared } from "./plans.js";
import { seededRandom } from "./random.js";

/** One memory and one plan for it. */
export interface ExecutorCase {
  readonly name: string;
  readonly memory: FakeTargetOptions;
  readonly plan: (subject: PlanSubject, sample: QuerySample) => MergePlan;
  /** Samples of queries, for plans with a fit. [0] */
  readonly samples?: number;
}

const DTYPES: readonly DType[] = ["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1"];

/** Singles, pairs, a triple, dropped cells: `0 1 1 2 -1 3 3 3 4 ...`. */
const mixed = (cells: number): number[] =>
  Array.from(
    { length: cells },
    (_, cell) => [0, 1, 1, 2, -1, 3, 3, 3][cell % 8]! + (cell % 8 === 4 ? 0 : 4 * (cell >> 3)),
  );

const merge = (subject: PlanSubject): MergePlan => shared(subject, { group: mixed(subject.shape.cells) });

/** Weights of all signs that differ between layers and heads. */
const weighted = (subject: PlanSubject): MergePlan =>
  shared(subject, {
    group: mixed(subject.shape.cells),
    keyScope: "head",
    valueScope: "layer",
    weights: [0.75, 0.25, -0.5, 1.5, 0, 1],
    keepSingles: false,
  });

/** Members that lie far apart and interleave. */
const interleaved = (subject: PlanSubject): MergePlan =>
  shared(subject, { group: Array.from({ length: subject.shape.cells }, (_, cell) => cell % 5) });

/** Keys re-rotated to floor(p / 3), as self-extend does. */
const squeezed = (subject: PlanSubject): MergePlan =>
  shared(subject, { group: Array.from({ length: subject.shape.cells }, (_, cell) => cell >> 1), squeeze: 3 });

/** A third of the cells, another third in every head. */
const perHead = (subject: PlanSubject): MergePlan => {
  const { layers, cells } = subject.shape;
  const heads = mostKvHeads(subject.shape);
  const random = seededRandom(cells);
  return composite(subject, {
    rows: Math.max(1, Math.floor(cells / 3)),
    orders: Array.from({ length: layers.length * heads }, () =>
      Array.from({ length: cells }, () => random.next()),
    ),
  });
};

const keepAll = (subject: PlanSubject): MergePlan =>
  shared(subject, { group: Array.from({ length: subject.shape.cells }, (_, cell) => cell) });

const onlyLast = (subject: PlanSubject): MergePlan =>
  shared(subject, { group: Array.from({ length: subject.shape.cells }, () => -1) });

/** Given values for half of the rows. */
const given =
  (plan: ExecutorCase["plan"]): ExecutorCase["plan"] =>
  (subject, sample) => {
    const made = plan(subject, sample);
    return { ...made, values: givenValues(3, subject.shape, made.rows) };
  };

/** Most values solved for. */
const solving =
  (plan: ExecutorCase["plan"], choice: FitChoice = {}): ExecutorCase["plan"] =>
  (subject, sample) =>
    fitted(plan(subject, sample), subject.shape, sample, choice);

const cells = 24;
const hadamard = { key: 64, value: 64 };
const uneven: FakeTargetOptions = {
  cells,
  layers: [
    { kvHeads: 3, keyDim: 64, valueDim: 32 },
    { kvHeads: 1, keyDim: 32, valueDim: 64, rope: null },
    {
      kvHeads: 2,
      keyDim: 64,
      valueDim: 64,
      rope: "half",
      ropeDims: 32,
      valueLayout: "transposed",
      keyType: "f16",
    },
  ],
};

const perType: readonly ExecutorCase[] = DTYPES.flatMap((keyType) => [
  { name: `${keyType}: pairs, a triple, dropped cells`, memory: { cells, keyType }, plan: merge },
  { name: `${keyType}: composite`, memory: { cells, keyType }, plan: perHead },
]);

const transposed: readonly ExecutorCase[] = (["f32", "f16", "bf16"] as const).flatMap((valueType) => [
  {
    name: `${valueType} values transposed: weights per head and layer`,
    memory: { cells, keyType: valueType, valueLayout: "transposed" },
    plan: weighted,
  },
  {
    name: `${valueType} values transposed: composite`,
    memory: { cells, keyType: valueType, valueLayout: "transposed" },
    plan: perHead,
  },
]);

const rotated: readonly ExecutorCase[] = [
  { name: "f32: re-rotated, interleaved pairs", memory: { cells, positions: "gaps" }, plan: squeezed },
  { name: "f16: re-rotated, half pairs", memory: { cells, keyType: "f16", rope: "half" }, plan: squeezed },
  {
    name: "f16: re-rotated, half of the channels",
    memory: { cells, keyType: "f16", ropeDims: 16 },
    plan: squeezed,
  },
  {
    name: "f32: re-rotated far from the start, where an angle in f32 is off by hundredths",
    memory: { cells, firstPosition: 500_000 },
    plan: squeezed,
  },
  { name: "f32: target frame without rotation", memory: { cells, rope: null }, plan: squeezed },
  {
    name: "q8_0 under Hadamard: re-rotated",
    memory: { cells, keyType: "q8_0", keyDim: 64, hadamard },
    plan: squeezed,
  },
  {
    name: "f16, folded before: re-rotated from the source map",
    memory: { cells, keyType: "f16", folded: true },
    plan: squeezed,
  },
];

const values: readonly ExecutorCase[] = [
  { name: "f32: given values, merged", memory: { cells }, plan: given(weighted) },
  { name: "q4_0: given values, composite", memory: { cells, keyType: "q4_0" }, plan: given(perHead) },
  {
    name: "f16, transposed, Hadamard: given values",
    memory: { cells, keyType: "f16", valueLayout: "transposed", keyDim: 64, hadamard: { key: 0, value: 64 } },
    plan: given(perHead),
  },
  { name: "layers that differ: given values, re-rotated keys", memory: uneven, plan: given(squeezed) },
];

/** 24 cells leave up to 8 rows to solve for: 48 samples of two heads are more than enough. */
const samples = 48;
const fits: readonly ExecutorCase[] = [
  { name: "f32: fit, composite", memory: { cells }, plan: solving(perHead), samples },
  { name: "f32: fit, merged with weights of all signs", memory: { cells }, plan: solving(weighted), samples },
  {
    name: "f16, transposed: fit, positions with gaps",
    memory: { cells, keyType: "f16", valueLayout: "transposed", positions: "gaps" },
    plan: solving(perHead),
    samples,
  },
  {
    name: "q8_0 under Hadamard: fit, composite",
    memory: { cells, keyType: "q8_0", keyDim: 64, hadamard },
    plan: solving(perHead),
    samples,
  },
  { name: "q4_0: fit, merged", memory: { cells, keyType: "q4_0" }, plan: solving(merge), samples },
  {
    name: "f16, folded before: fit, with biases and a source map",
    memory: { cells, keyType: "f16", folded: true },
    plan: solving(perHead),
    samples,
  },
  { name: "f32: fit after re-rotation", memory: { cells }, plan: solving(squeezed), samples },
  { name: "layers that differ: fit", memory: uneven, plan: solving(perHead, { lambda: 0.1 }), samples },
  {
    name: "f32: fit on the first query rows, another holdout and horizon",
    memory: { cells, queryHeads: 6 },
    plan: solving(perHead, { maxRows: 100, holdout: 4, horizon: 7, stiff: 0 }),
    samples: 64,
  },
  {
    name: "f32: fit that a large ridge holds back",
    memory: { cells, layers: 1 },
    plan: solving(perHead, { lambda: 1000 }),
    samples,
  },
];

/** All standard cases. */
export const EXECUTOR_CASES: readonly ExecutorCase[] = [
  ...perType,
  ...transposed,
  ...rotated,
  ...values,
  ...fits,
  { name: "f32: weights per head and layer", memory: { cells }, plan: weighted },
  { name: "f16: members far apart", memory: { cells, keyType: "f16" }, plan: interleaved },
  {
    name: "q8_0 under Hadamard: merged as stored",
    memory: { cells, keyType: "q8_0", keyDim: 64, hadamard },
    plan: merge,
  },
  {
    name: "f16, folded before: composite",
    memory: { cells, keyType: "f16", folded: true },
    plan: perHead,
  },
  { name: "layers that differ: merged", memory: uneven, plan: weighted },
  { name: "layers that differ: composite", memory: uneven, plan: perHead },
  {
    name: "f16: everything kept, packed",
    memory: { cells, keyType: "f16", slots: "ordered", holes: 24 },
    plan: keepAll,
  },
  { name: "f16: only the last cell stays", memory: { cells, keyType: "f16" }, plan: onlyLast },
  { name: "f32: a single cell", memory: { cells: 1, holes: 0 }, plan: keepAll },
  { name: "f16: no free cell", memory: { cells, keyType: "f16", holes: 0 }, plan: merge },
];
