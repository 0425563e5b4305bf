/** Rules on the contents of a plan, one function and one code each. They rely on `checkStructure`. */
import type { LayerShape } from "../shape.js";
import { planError } from "./check-structure.js";
import type { CompositePlan, MergePlan, SharedPlan, Weights } from "./plan.js";
import { keptCell } from "./rows.js";

/** A bias is a logit offset; 16 would multiply an attention weight by nine million. */
const BIAS_LIMIT = 16;

/** Offsets rise from 0 to the number of members, so every row has a member. */
export function checkOffsets(plan: SharedPlan): void {
  const { offsets, members, rows } = plan;
  if (offsets[0] !== 0 || offsets[rows] !== members.length) {
    throw planError("KVFOLD_PLAN_SHAPE", `offsets must run from 0 to ${members.length}`);
  }
  for (let row = 0; row < rows; row++) {
    if (offsets[row + 1]! <= offsets[row]!) throw planError("KVFOLD_PLAN_SHAPE", `row ${row} has no members`);
  }
}

/** Every member is a cell of the cache. */
export function checkMemberRange(plan: MergePlan): void {
  const { members, cells } = plan;
  for (let i = 0; i < members.length; i++) {
    if (members[i]! >= cells) {
      throw planError("KVFOLD_PLAN_MEMBER_RANGE", `member ${members[i]} of a cache of ${cells} cells`);
    }
  }
}

/** A cell is used once: in the whole plan, or once in every head of a composite plan. */
export function checkDisjoint(plan: MergePlan): void {
  const { members } = plan;
  const stretch = plan.layout === "shared" ? members.length : plan.rows;
  const seen = new Int32Array(plan.cells);
  for (let i = 0, stamp = 0; i < members.length; i++) {
    if (i % stretch === 0) stamp++;
    const cell = members[i]!;
    if (seen[cell] === stamp)
      throw planError("KVFOLD_PLAN_NOT_DISJOINT", `cell ${cell} is used twice${inHead(plan, i)}`);
    seen[cell] = stamp;
  }
}

function inHead(plan: MergePlan, index: number): string {
  if (plan.layout === "shared") return "";
  const group = Math.floor(index / plan.rows);
  return ` in layer ${Math.floor(group / plan.kvHeads)}, KV head ${group % plan.kvHeads}`;
}

/** Positions are not negative, never fall, and leave room for the next token. */
export function checkOrder(plan: MergePlan): void {
  const { positions, rows } = plan;
  for (let row = 0; row < rows; row++) {
    const position = positions[row]!;
    if (position < 0) throw planError("KVFOLD_PLAN_ORDER", `row ${row} has position ${position}`);
    if (row > 0 && position < positions[row - 1]!) {
      const what = `row ${row} has position ${position}, the row before it ${positions[row - 1]}`;
      throw planError("KVFOLD_PLAN_ORDER", what, "rows are ordered by position, the last has the largest");
    }
  }
  if (positions[rows - 1] === 2 ** 31 - 1)
    throw planError("KVFOLD_PLAN_ORDER", "no position is left for the next token");
}

/**
 * Every row holds a token, and none is lost or invented.
 * @param tokens tokens of the cache, or null when unknown
 */
export function checkCounts(plan: MergePlan, tokens: number | null): void {
  let sum = 0;
  for (let row = 0; row < plan.rows; row++) {
    if (plan.counts[row] === 0) throw planError("KVFOLD_PLAN_COUNTS", `row ${row} counts no token`);
    sum += plan.counts[row]!;
  }
  if (tokens !== null && sum + plan.dropped !== tokens) {
    const what = `rows hold ${sum} tokens and ${plan.dropped} are dropped, the cache holds ${tokens}`;
    throw planError("KVFOLD_PLAN_COUNTS", what);
  }
}

/** Weights are finite numbers. */
export function checkWeights(plan: SharedPlan): void {
  checkFinite("key", plan.keyWeights, plan.members);
  checkFinite("value", plan.valueWeights, plan.members);
}

function checkFinite(name: string, weights: Weights, members: Uint32Array): void {
  const { data } = weights;
  for (let i = 0; i < data.length; i++) {
    if (!Number.isFinite(data[i])) {
      const cell = members[i % members.length];
      throw planError("KVFOLD_PLAN_WEIGHT", `the ${name} weight of cell ${cell} is ${data[i]}`);
    }
  }
}

/** Biases are finite and below 16 in magnitude. */
export function checkBiasRange(plan: MergePlan): void {
  for (let row = 0; plan.bias !== null && row < plan.rows; row++) {
    const bias = plan.bias[row]!;
    if (!(Math.abs(bias) < BIAS_LIMIT)) {
      throw planError(
        "KVFOLD_PLAN_BIAS",
        `row ${row} has bias ${bias}, must be below ${BIAS_LIMIT} in magnitude`,
      );
    }
  }
}

/** A row that only keeps a cell keeps its bias; the cells of a composite row have one bias, which it keeps. */
export function checkBiasKept(plan: MergePlan, old: Float32Array | null): void {
  if (plan.layout === "composite") checkCompositeBias(plan, old);
  else if (plan.bias !== null || old !== null) {
    for (let row = 0; row < plan.rows; row++) {
      const cell = keptCell(plan, row);
      if (cell >= 0) needBias(plan, row, old === null ? 0 : old[cell]!);
    }
  }
}

function checkCompositeBias(plan: CompositePlan, old: Float32Array | null): void {
  const { members, rows } = plan;
  for (let row = 0; row < rows; row++) needBias(plan, row, old === null ? 0 : old[members[row]!]!);
  for (let i = rows; old !== null && i < members.length; i++) {
    const bias = old[members[i]!]!;
    const first = old[members[i % rows]!]!;
    if (bias !== first) {
      const what = `row ${i % rows} takes cells of bias ${first} and ${bias}`;
      throw planError("KVFOLD_PLAN_BIAS", what, "a bias belongs to a cell, so its heads must agree on it");
    }
  }
}

function needBias(plan: MergePlan, row: number, want: number): void {
  const bias = plan.bias === null ? 0 : plan.bias[row]!;
  if (bias !== want) {
    throw planError("KVFOLD_PLAN_BIAS", `row ${row} only keeps a cell of bias ${want}, but has bias ${bias}`);
  }
}

/** Heads that a layer lacks repeat its head 0, so that equal plans have equal bytes. */
export function checkPadding(plan: CompositePlan, layers: readonly LayerShape[]): void {
  const { members, rows, kvHeads } = plan;
  layers.forEach((layer, index) => {
    const first = index * kvHeads * rows;
    for (let i = first + layer.kvHeads * rows; i < first + kvHeads * rows; i++) {
      if (members[i] !== members[first + ((i - first) % rows)]) {
        throw planError(
          "KVFOLD_PLAN_SHAPE",
          `layer ${index} has ${layer.kvHeads} KV heads; the others must repeat head 0`,
        );
      }
    }
  });
}
