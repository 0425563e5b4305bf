/** Given values through two plans: rows that are only carried keep theirs. */
import type { CacheShape } from "../shape.js";
import { planError } from "./check-structure.js";
import { checkValueShape } from "./check-values.js";
import type { DenseValues, MergePlan } from "./plan.js";
import { memberOf, mostKvHeads } from "./rows.js";
import { valueReader } from "./values.js";
import { weightBase } from "./weights.js";

const refuse = (what: string, hint: string): never => {
  throw planError("KVFOLD_PLAN_COMPOSE", what, hint);
};

/** Fits are made on the cache that they were planned for, so the product cannot repeat them. */
export function refuseFits(...plans: readonly MergePlan[]): void {
  if (plans.every(({ fit }) => fit === null)) return;
  refuse(
    "a plan solves for values, which depends on the cache",
    "materialise it first: its values are then given",
  );
}

/**
 * The values of the product: those that the second plan gives, and those that the first gives to rows which the second
 * carries over alone with weight 1. Merged ones would have to be requantised in between.
 *
 *     first   a b* c d  ->  a b* [cd]      * value given
 *     second  a b* [cd]  ->  b* [cd]       together  a b c d  ->  b* [cd]
 *
 * @throws KvfoldError KVFOLD_PLAN_COMPOSE
 */
export function composeValues(
  first: MergePlan,
  second: MergePlan,
  shape: Pick<CacheShape, "layers"> | null,
): DenseValues | null {
  if (first.values === null && second.values === null) return null;
  if (shape === null)
    return refuse("a plan gives values", "pass the shape of the cache, which says their channels");
  for (const plan of [first, second]) checkValueShape(plan, shape);
  const none = (): null => null;
  const readFirst = first.values === null ? none : valueReader(first.values, first.rows, shape.layers);
  const readSecond = second.values === null ? none : valueReader(second.values, second.rows, shape.layers);
  const kvHeads = mostKvHeads(shape);
  const given = new Uint8Array(shape.layers.length * kvHeads * second.rows);
  const parts: Float32Array[] = [];
  shape.layers.forEach((layer, index) => {
    for (let head = 0; head < layer.kvHeads; head++) {
      for (let row = 0; row < second.rows; row++) {
        const carried = (): Float32Array | null =>
          carriedValue(termsOf(second, kvHeads, index, head, row), row, (from) =>
            readFirst(index, head, from),
          );
        const value = readSecond(index, head, row) ?? carried();
        if (value === null) continue;
        given[(index * kvHeads + head) * second.rows + row] = 1;
        parts.push(value);
      }
    }
  });
  return parts.length === 0 ? null : { given, data: join(parts) };
}

function join(parts: readonly Float32Array[]): Float32Array {
  const data = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    data.set(part, at);
    at += part.length;
  }
  return data;
}

/** A row of the first plan, and its weight in a row of the second. */
interface Term {
  readonly from: number;
  readonly weight: number;
}

function termsOf(plan: MergePlan, kvHeads: number, layer: number, head: number, row: number): Term[] {
  if (plan.layout === "composite") return [{ from: memberOf(plan, layer, head, row), weight: 1 }];
  const base = weightBase(plan.valueWeights, plan.members.length, kvHeads, layer, head);
  const terms: Term[] = [];
  for (let i = plan.offsets[row]!; i < plan.offsets[row + 1]!; i++) {
    const weight = plan.valueWeights.data[base + i]!;
    if (weight !== 0) terms.push({ from: plan.members[i]!, weight });
  }
  return terms;
}

function carriedValue(
  terms: readonly Term[],
  row: number,
  read: (from: number) => Float32Array | null,
): Float32Array | null {
  const values = terms.map(({ from }) => read(from));
  if (values.every((value) => value === null)) return null;
  if (terms.length === 1 && terms[0]!.weight === 1) return values[0]!;
  return refuse(
    `row ${row} of the second plan merges values that the first gives`,
    "apply them one after the other",
  );
}
