/** Plan after plan as one plan: the sparse product, without touching a cache. */
import type { CacheShape } from "../shape.js";
import { checkPlanAlone } from "./check.js";
import { planError } from "./check-structure.js";
import { composedFrame } from "./compose-frame.js";
import { composeValues, refuseFits } from "./compose-values.js";
import { multiplyWeights } from "./compose-weights.js";
import {
  type CompositePlan,
  type MergePlan,
  PLAN_VERSION,
  type PlanBase,
  type SharedPlan,
  type Weights,
} from "./plan.js";
import { keptCell } from "./rows.js";

/**
 * The one plan that does what `first` and then `second` do; `second` was made for the cache that `first` leaves.
 *
 *     first   a b c d e f  ->  a [bc] d [ef]
 *     second  a [bc] d [ef]  ->  a [bcd] [ef]          together   a b c d e f  ->  a [bcd] [ef]
 *
 * Executing it gives the rows that the two give one after the other, up to rounding once instead of twice. Which member
 * of a merged row lends it its rotation (`nextSources`, frame `stored`) is decided by the product of the weights.
 * A cell stays pinned as far as both plans pin it.
 *
 * Composes: shared with shared; composite with composite; composite with a shared plan that only keeps cells as they
 * are, either way round. Key frames: two of the same kind always (frame `stored` twice, `target` twice); `target` then
 * `stored` where rows do not move in between; `stored` then `target` where no keys were merged in between.
 *
 * Given values come along where the second plan carries their rows over alone; fits compose once they are materialised.
 *
 * @param shape layers of the cache; needed only when one of the plans gives values
 * @throws KvfoldError KVFOLD_PLAN_COMPOSE with the reason when no single plan says the same; KVFOLD_PLAN_* when one of
 * the two is not valid
 */
export function composePlans(
  first: MergePlan,
  second: MergePlan,
  shape: Pick<CacheShape, "layers"> | null = null,
): MergePlan {
  checkPlanAlone(first);
  checkPlanAlone(second);
  refuseFits(first, second);
  if (second.cells !== first.rows) {
    const what = `the second plan is for ${second.cells} cells, the first leaves ${first.rows}`;
    throw planError("KVFOLD_PLAN_COMPOSE", what);
  }
  if (first.layout === "composite" && second.layout === "composite")
    return composeComposite(first, second, shape);
  const [left, right] = [simplest(first), simplest(second)];
  if (left.layout === "composite") return composeComposite(left, spread(right, left), shape);
  return right.layout === "composite"
    ? composeComposite(spread(left, right), right, shape)
    : composeShared(left, right, shape);
}

type Layers = Pick<CacheShape, "layers"> | null;

/** A composite plan whose heads all agree is a shared plan that only keeps cells. */
function simplest(plan: MergePlan): MergePlan {
  if (plan.layout === "shared") return plan;
  const cells = Uint32Array.from({ length: plan.rows }, (_, row) => keptCell(plan, row));
  // keptCell gives -1 where heads differ, which wraps to a cell that no cache has
  if (cells.some((cell) => cell >= plan.cells)) return plan;
  const ones = (): SharedPlan["keyWeights"] => ({ scope: "all", data: new Float32Array(plan.rows).fill(1) });
  return {
    ...baseOf(plan),
    layout: "shared",
    offsets: Uint32Array.from({ length: plan.rows + 1 }, (_, row) => row),
    members: cells,
    keyWeights: ones(),
    valueWeights: ones(),
    keyFrame: "stored",
  };
}

const baseOf = (plan: MergePlan): PlanBase => {
  const { version, cells, rows, positions, counts, dropped, bias, pins, fit, values } = plan;
  return { version, cells, rows, positions, counts, dropped, bias, pins, fit, values };
};

/** A shared plan that only keeps cells, written for every head of `like`. */
function spread(plan: MergePlan, like: CompositePlan): CompositePlan {
  if (plan.layout === "composite") return plan;
  if (plan.keyFrame === "target") {
    throw planError(
      "KVFOLD_PLAN_COMPOSE",
      "one plan re-rotates keys, the other keeps different cells in different heads",
      "apply them one after the other",
    );
  }
  const members = new Uint32Array(like.layers * like.kvHeads * plan.rows);
  for (let row = 0; row < plan.rows; row++) {
    const cell = keptCell(plan, row);
    if (cell < 0) {
      const what = `row ${row} of one plan merges cells, the other keeps different cells in different heads`;
      throw planError("KVFOLD_PLAN_COMPOSE", what, "apply them one after the other");
    }
    for (let i = row; i < members.length; i += plan.rows) members[i] = cell;
  }
  return { ...baseOf(plan), layout: "composite", layers: like.layers, kvHeads: like.kvHeads, members };
}

/** What the second plan decides, over the cells of the first. */
function composedBase(first: MergePlan, second: MergePlan, shape: Layers): PlanBase {
  return {
    version: PLAN_VERSION,
    cells: first.cells,
    rows: second.rows,
    positions: second.positions.slice(),
    counts: second.counts.slice(),
    dropped: first.dropped + second.dropped,
    bias: second.bias?.slice() ?? null,
    pins: composedPins(first, second),
    fit: null,
    values: composeValues(first, second, shape),
  };
}

/** The lower level of a cell and of the rows it went to. */
function composedPins(first: MergePlan, second: MergePlan): Uint8Array | null {
  if (first.pins === null || second.pins === null) return null;
  const pins = first.pins.slice();
  const groups = first.layout === "shared" ? 1 : first.layers * first.kvHeads;
  for (let group = 0; group < groups; group++) {
    for (let row = 0; row < first.rows; row++) {
      for (const cell of membersOf(first, group, row)) pins[cell] = Math.min(pins[cell]!, second.pins[row]!);
    }
  }
  return pins.some((level) => level !== 0) ? pins : null;
}

const membersOf = (plan: MergePlan, group: number, row: number): Uint32Array =>
  plan.layout === "shared"
    ? plan.members.subarray(plan.offsets[row]!, plan.offsets[row + 1]!)
    : plan.members.subarray(group * plan.rows + row, group * plan.rows + row + 1);

function composeComposite(first: CompositePlan, second: CompositePlan, shape: Layers): CompositePlan {
  if (first.layers !== second.layers || first.kvHeads !== second.kvHeads) {
    throw planError("KVFOLD_PLAN_COMPOSE", "the plans are for different numbers of layers or KV heads");
  }
  const members = Uint32Array.from(second.members, (row, index) => {
    const group = Math.floor(index / second.rows);
    return first.members[group * first.rows + row]!;
  });
  const { layers, kvHeads } = first;
  return { ...composedBase(first, second, shape), layout: "composite", layers, kvHeads, members };
}

function composeShared(first: SharedPlan, second: SharedPlan, shape: Layers): SharedPlan {
  const offsets = new Uint32Array(second.rows + 1);
  const viaFirst: number[] = [];
  const viaSecond: number[] = [];
  for (let row = 0; row < second.rows; row++) {
    for (let i = second.offsets[row]!; i < second.offsets[row + 1]!; i++) {
      const between = second.members[i]!;
      for (let j = first.offsets[between]!; j < first.offsets[between + 1]!; j++) {
        viaFirst.push(j);
        viaSecond.push(i);
      }
    }
    offsets[row + 1] = viaFirst.length;
  }
  const multiply = (which: "keyWeights" | "valueWeights"): Weights =>
    multiplyWeights(
      { weights: first[which], members: first.members.length, via: viaFirst },
      { weights: second[which], members: second.members.length, via: viaSecond },
    );
  return {
    ...composedBase(first, second, shape),
    layout: "shared",
    offsets,
    members: Uint32Array.from(viaFirst, (index) => first.members[index]!),
    keyWeights: multiply("keyWeights"),
    valueWeights: multiply("valueWeights"),
    keyFrame: composedFrame(first, second),
  };
}
