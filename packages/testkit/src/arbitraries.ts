/** fast-check generators of shapes, fake caches and valid plans. They shrink towards few cells and small layers. */
import {
  type CacheShape,
  type CompositePlan,
  type DType,
  isBlockType,
  type MergePlan,
  mostKvHeads,
  type SharedPlan,
} from "@kvfold/core";
import fc from "fast-check";
import { type FakeLayerOptions, type FakeShapeOptions, fakeShape } from "./fake-shape.js";
import { givenValues } from "./plan-values.js";
import { composite, type PlanSubject, shared } from "./plans.js";

/** Limits of the generated shapes. */
export interface ShapeLimits {
  /** [24] */
  readonly maxCells?: number;
  /** [3] */
  readonly maxLayers?: number;
  /** Types that may occur. [f32, f16, bf16, q8_0] */
  readonly dtypes?: readonly DType[];
}

/** Types that every executor of the project folds. */
export const COMMON_DTYPES: readonly DType[] = ["f32", "f16", "bf16", "q8_0"];

/** One layer: any head counts, dims, types, value layouts and rotations that can occur together. */
export function arbitraryLayer(limits: ShapeLimits = {}): fc.Arbitrary<FakeLayerOptions> {
  const dtype = fc.constantFrom(...(limits.dtypes ?? COMMON_DTYPES));
  return fc
    .record({
      kvHeads: fc.integer({ min: 1, max: 3 }),
      group: fc.integer({ min: 1, max: 3 }),
      keyDim: fc.constantFrom(32, 64),
      valueDim: fc.constantFrom(32, 64),
      keyType: dtype,
      valueType: dtype,
      valueLayout: fc.constantFrom("rows" as const, "transposed" as const),
      rope: fc.constantFrom("interleaved" as const, "half" as const, null),
      partial: fc.boolean(),
      turned: fc.boolean(),
    })
    .map(({ group, partial, turned, ...layer }) => ({
      ...layer,
      queryHeads: group * layer.kvHeads,
      ropeDims: partial ? layer.keyDim / 2 : layer.keyDim,
      valueLayout: isBlockType(layer.valueType) ? "rows" : layer.valueLayout,
      hadamard: { key: turned && isBlockType(layer.keyType) ? layer.keyDim : 0, value: 0 },
    }));
}

/** A shape, as options for `fakeShape` and `fakeTarget`. */
export function arbitraryShapeOptions(limits: ShapeLimits = {}): fc.Arbitrary<FakeShapeOptions> {
  return fc.record({
    cells: fc.integer({ min: 1, max: limits.maxCells ?? 24 }),
    layers: fc.array(arbitraryLayer(limits), { minLength: 1, maxLength: limits.maxLayers ?? 3 }),
  });
}

/** A shape. */
export function arbitraryShape(limits: ShapeLimits = {}): fc.Arbitrary<CacheShape> {
  return arbitraryShapeOptions(limits).map(fakeShape);
}

/** What a plan is made for: a shape, ascending positions with gaps and repeats, counts of one and more. */
export function arbitrarySubject(limits: ShapeLimits = {}): fc.Arbitrary<PlanSubject> {
  return arbitraryShape(limits).chain((shape) =>
    fc
      .record({
        steps: fc.array(fc.integer({ min: 0, max: 3 }), { minLength: shape.cells, maxLength: shape.cells }),
        counts: fc.array(fc.integer({ min: 1, max: 9 }), { minLength: shape.cells, maxLength: shape.cells }),
        biased: fc.boolean(),
      })
      .map(({ steps, counts, biased }) => {
        let position = 0; // of the cell before
        return {
          shape,
          positions: Int32Array.from(steps, (step) => {
            position += step;
            return position;
          }),
          counts: Uint32Array.from(counts),
          bias: biased ? Float32Array.from(counts, Math.log) : null,
        };
      }),
  );
}

/** A weight: mostly ordinary, sometimes zero, one or negative. */
const weight = fc.oneof(
  { arbitrary: fc.constantFrom(1, 0, -1, 0.5), weight: 1 },
  { arbitrary: fc.integer({ min: -2048, max: 2048 }).map((n) => n / 1024), weight: 3 },
);

/** A valid shared plan: any partition, any weights of any scope, either key frame, with or without bias. */
export function arbitrarySharedPlan(subject: PlanSubject): fc.Arbitrary<SharedPlan> {
  const { cells } = subject.shape;
  return fc
    .record({
      group: fc.array(fc.integer({ min: -1, max: cells - 1 }), { minLength: cells, maxLength: cells }),
      adjacent: fc.boolean(),
      keyScope: fc.constantFrom("all" as const, "layer" as const, "head" as const),
      valueScope: fc.constantFrom("all" as const, "layer" as const, "head" as const),
      weights: fc.array(weight, { minLength: 1, maxLength: 16 }),
      keepSingles: fc.boolean(),
      squeeze: fc.integer({ min: 0, max: 3 }),
      logCount: fc.boolean(),
    })
    .map((choice) => shared(subject, choice));
}

/** A valid composite plan: any number of rows, any choice of cells for each layer and head. */
export function arbitraryCompositePlan(subject: PlanSubject): fc.Arbitrary<CompositePlan> {
  const { cells, layers } = subject.shape;
  const order = fc.array(fc.integer({ min: 0, max: 2 ** 20 }), { minLength: cells, maxLength: cells });
  return fc
    .record({
      rows: fc.integer({ min: 1, max: cells }),
      orders: fc.array(order, {
        minLength: layers.length * mostKvHeads(subject.shape),
        maxLength: layers.length * mostKvHeads(subject.shape),
      }),
      sorted: fc.boolean(),
    })
    .map((choice) => composite(subject, choice));
}

/** A valid plan of either layout, some with given values. */
export function arbitraryPlan(subject: PlanSubject): fc.Arbitrary<MergePlan> {
  const plan = fc.oneof(arbitrarySharedPlan(subject), arbitraryCompositePlan(subject));
  return fc
    .record({ plan, seed: fc.option(fc.nat(), { freq: 2 }) })
    .map(({ plan, seed }) =>
      seed === null ? plan : { ...plan, values: givenValues(seed, subject.shape, plan.rows) },
    );
}

/** A subject and a valid plan for it. */
export function arbitraryCase(
  limits: ShapeLimits = {},
): fc.Arbitrary<{ readonly subject: PlanSubject; readonly plan: MergePlan }> {
  return arbitrarySubject(limits).chain((subject) =>
    arbitraryPlan(subject).map((plan) => ({ subject, plan })),
  );
}
