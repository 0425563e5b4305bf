/** Pinned cells stay at their level. */
import { planError } from "./check-structure.js";
import { type CompositePlan, type MergePlan, PIN_LEVEL, type SharedPlan } from "./plan.js";
import { type KeyPositions, keyStaysPut, valueStaysPut } from "./rows.js";
import { weighsNothing, weighsOne } from "./weights.js";

/**
 * - `exact`: an identity row of its own, its value neither solved for nor given; in a composite plan the same row of every layer and head.
 * - `key`: in a row whose key is the cell's own; in a composite plan as `exact`, but for its value.
 * - `absorb`: a member of some row; in a composite plan of some row of every layer and head.
 *
 * @param cache where stored keys are rotated to; null when no cache is known, and re-rotation is not judged
 */
export function checkPins(plan: MergePlan, cache: KeyPositions | null): void {
  if (plan.pins === null) return;
  const unknown = plan.pins.findIndex((level) => level > PIN_LEVEL.exact);
  if (unknown >= 0)
    throw planError("KVFOLD_PLAN_PIN", `cell ${unknown} has the unknown pin level ${plan.pins[unknown]}`);
  if (plan.layout === "shared") checkShared(plan, plan.pins, cache);
  else checkComposite(plan, plan.pins);
}

function pinError(cell: number, level: number, how: string): never {
  const name = Object.entries(PIN_LEVEL).find(([, value]) => value === level)?.[0];
  throw planError("KVFOLD_PLAN_PIN", `cell ${cell} is pinned \`${name}\`, but ${how}`);
}

function checkShared(plan: SharedPlan, pins: Uint8Array, cache: KeyPositions | null): void {
  const rowOf = new Int32Array(plan.cells).fill(-1);
  const indexOf = new Int32Array(plan.cells);
  for (let row = 0; row < plan.rows; row++) {
    for (let i = plan.offsets[row]!; i < plan.offsets[row + 1]!; i++) {
      rowOf[plan.members[i]!] = row;
      indexOf[plan.members[i]!] = i;
    }
  }
  for (let cell = 0; cell < plan.cells; cell++) {
    const level = pins[cell]!;
    if (level === PIN_LEVEL.none) continue;
    const row = rowOf[cell]!;
    if (row < 0) pinError(cell, level, "no row has it");
    if (level >= PIN_LEVEL.key) checkKey(plan, row, cell, indexOf[cell]!, level, cache);
    if (level === PIN_LEVEL.exact) checkExact(plan, row, cell, indexOf[cell]!);
  }
}

function checkKey(
  plan: SharedPlan,
  row: number,
  cell: number,
  index: number,
  level: number,
  cache: KeyPositions | null,
): void {
  for (let i = plan.offsets[row]!; i < plan.offsets[row + 1]!; i++) {
    const stays = i === index ? weighsOne : weighsNothing;
    if (!stays(plan.keyWeights, plan.members.length, i)) pinError(cell, level, `row ${row} changes its key`);
  }
  if (cache !== null && !keyStaysPut(plan, row, cell, cache))
    pinError(cell, level, `row ${row} re-rotates its key`);
}

function checkExact(plan: SharedPlan, row: number, cell: number, index: number): void {
  if (plan.offsets[row + 1]! - plan.offsets[row]! !== 1)
    pinError(cell, PIN_LEVEL.exact, `row ${row} has other members`);
  if (!weighsOne(plan.valueWeights, plan.members.length, index) || !valueStaysPut(plan, row)) {
    pinError(cell, PIN_LEVEL.exact, `row ${row} changes its value`);
  }
}

function checkComposite(plan: CompositePlan, pins: Uint8Array): void {
  const { members, rows } = plan;
  const heads = members.length / rows;
  const timesSeen = new Uint32Array(plan.cells);
  const firstRow = new Int32Array(plan.cells).fill(-1);
  for (let i = 0; i < members.length; i++) {
    const cell = members[i]!;
    if (pins[cell] === PIN_LEVEL.none) continue;
    timesSeen[cell]!++;
    if (timesSeen[cell] === 1) firstRow[cell] = i % rows;
    else if (pins[cell]! >= PIN_LEVEL.key && firstRow[cell] !== i % rows) {
      pinError(cell, pins[cell]!, `heads have it in rows ${firstRow[cell]} and ${i % rows}`);
    }
  }
  for (let cell = 0; cell < plan.cells; cell++) {
    if (pins[cell] !== PIN_LEVEL.none && timesSeen[cell] !== heads) {
      pinError(cell, pins[cell]!, `only ${timesSeen[cell]} of ${heads} heads have it`);
    }
    if (pins[cell] === PIN_LEVEL.exact && !valueStaysPut(plan, firstRow[cell]!)) {
      pinError(cell, PIN_LEVEL.exact, `row ${firstRow[cell]} changes its value`);
    }
  }
}
