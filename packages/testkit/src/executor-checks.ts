/** The promises of an executor as plain functions: each returns, or throws an error that names the broken promise. */
import {
  type Executor,
  type FoldTransaction,
  isIdentityRow,
  isKvfoldError,
  keptCell,
  type MemoryTarget,
  type MergePlan,
  memberOf,
  referenceExecutor,
} from "@kvfold/core";
import { boundFor } from "./bounds.js";
import { expectWithin } from "./expect-within.js";
import { brokenGuards, copyTarget } from "./fake-target.js";
import { seededRandom } from "./random.js";
import { firstDifference, readRows, rowBytesOf, type Side } from "./read-rows.js";

/** What an executor reaches, over the same bytes as the memory that it was made from. */
export interface Adapted<Target> {
  readonly target: Target;
  dispose?(): void;
}

/** Turns plain memory into what an executor reaches. */
export type Adapt<Target> = (memory: MemoryTarget) => Adapted<Target> | Promise<Adapted<Target>>;

/** An executor and its way to memory. */
export interface ExecutorUnderTest<Target> {
  readonly executor: Executor<Target>;
  readonly adapt: Adapt<Target>;
}

const fail = (message: string): never => {
  throw new Error(message);
};

/** Prepares on the memory, hands the transaction over, and always disposes. */
export async function withTransaction<Target>(
  under: ExecutorUnderTest<Target>,
  memory: MemoryTarget,
  plan: MergePlan,
  destinations: Uint32Array,
  use: (transaction: FoldTransaction) => Promise<void>,
): Promise<void> {
  const adapted = await under.adapt(memory);
  try {
    const transaction = await under.executor.prepare(adapted.target, plan, { destinations });
    try {
      await use(transaction);
    } finally {
      transaction.dispose();
    }
  } finally {
    adapted.dispose?.();
  }
}

/**
 * Where rows may go: over the cells of the sequence, packed, as engines do; or anywhere.
 * @returns ascending physical cells [rows]
 */
export function chooseDestinations(
  memory: MemoryTarget,
  rows: number,
  kind: "packed" | "anywhere",
): Uint32Array {
  const all =
    kind === "packed"
      ? [...memory.slots].sort((a, b) => a - b)
      : seededRandom(rows).shuffle(Array.from({ length: memory.capacity }, (_, slot) => slot));
  return Uint32Array.from(all.slice(0, rows)).sort();
}

function expectUnchanged(
  before: MemoryTarget,
  after: MemoryTarget,
  when: string,
  except?: ReadonlySet<number>,
): void {
  const difference = firstDifference(before, after, except);
  if (difference !== null) fail(`${when}: ${difference} has changed`);
  const guards = brokenGuards(after);
  if (guards.length > 0) fail(`${when}: wrote outside of ${guards.join(", ")}`);
}

/** Largest |x| of the cells in use times the largest sum of |weights| of a row. */
function magnitudeOf(memory: MemoryTarget, plan: MergePlan, layer: number, side: Side): number {
  const largest = readRows(memory, layer, side, memory.slots).reduce(
    (max, x) => Math.max(max, Math.abs(x)),
    0,
  );
  if (plan.layout === "composite") return largest;
  const { data } = side === "keys" ? plan.keyWeights : plan.valueWeights;
  const heaviest = data.reduce((max, weight) => Math.max(max, Math.abs(weight)), 0);
  return largest * heaviest * mostMembers(plan);
}

function mostMembers(plan: MergePlan): number {
  if (plan.layout === "composite") return 1;
  const { offsets } = plan;
  return plan.positions.reduce((most, _, row) => Math.max(most, offsets[row + 1]! - offsets[row]!), 1);
}

/** Every destination row lies within the bound of the row that the reference stores. */
function expectReferenceRows(
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
        hadamard: side === "keys" ? layer.hadamard.key : 0,
        against: "stored",
      });
      const got = readRows(after, l, side, destinations);
      const want = readRows(reference, l, side, destinations);
      expectWithin(got, want, bound, `${side} of layer ${l}, rows against the reference`);
    }
  });
}

/** Rows that only keep a cell, and all slices of composite rows, are the old bytes. */
function expectKeptBytes(
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
  const keptBy = (layer: number, head: number, row: number): number => {
    if (plan.layout === "composite") return memberOf(plan, layer, head, row);
    return isIdentityRow(plan, row, cache) ? keptCell(plan, row) : -1;
  };
  before.shape.layers.forEach((layer, l) => {
    for (const side of ["keys", "values"] as const) {
      destinations.forEach((slot, row) => {
        const is = rowBytesOf(after, l, side, slot);
        const size = is.length / layer.kvHeads;
        for (let head = 0; head < layer.kvHeads; head++) {
          const cell = keptBy(l, head, row);
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

/** Prepare only reads; commit writes the planned rows, right, and nothing else; the same again gives the same bytes. */
export async function checkFold<Target>(
  under: ExecutorUnderTest<Target>,
  memory: MemoryTarget,
  plan: MergePlan,
  destinations: Uint32Array,
): Promise<void> {
  const before = copyTarget(memory);
  const reference = copyTarget(memory);
  const again = copyTarget(memory);
  const inMemory = { executor: referenceExecutor, adapt: (own: MemoryTarget) => ({ target: own }) };
  await withTransaction(inMemory, reference, plan, destinations, (transaction) => transaction.commit());
  await withTransaction(under, memory, plan, destinations, async (transaction) => {
    expectUnchanged(before, memory, "after prepare");
    await transaction.commit();
  });
  expectUnchanged(before, memory, "cells outside the plan, after commit", new Set(destinations));
  expectReferenceRows(before, memory, reference, plan, destinations);
  expectKeptBytes(before, memory, plan, destinations);
  await withTransaction(under, again, plan, destinations, (transaction) => transaction.commit());
  expectUnchanged(memory, again, "a second run on the same memory");
}

/** Rollback after commit puts every byte back; a transaction that was only prepared leaves no trace. */
export async function checkRollback<Target>(
  under: ExecutorUnderTest<Target>,
  memory: MemoryTarget,
  plan: MergePlan,
  destinations: Uint32Array,
): Promise<void> {
  const before = copyTarget(memory);
  await withTransaction(under, memory, plan, destinations, async (transaction) => {
    await transaction.commit();
    await transaction.rollback();
  });
  expectUnchanged(before, memory, "after rollback");
  await withTransaction(under, memory, plan, destinations, async () => {});
  expectUnchanged(before, memory, "after prepare and dispose");
}

/** A plan or destinations that do not fit, or an abort, is refused with a KvfoldError; no byte changes. */
export async function checkRefusal<Target>(
  under: ExecutorUnderTest<Target>,
  memory: MemoryTarget,
  plan: MergePlan,
  options: { readonly destinations: Uint32Array; readonly signal?: AbortSignal },
  code?: string,
): Promise<void> {
  const before = copyTarget(memory);
  const adapted = await under.adapt(memory);
  let error: unknown = null;
  try {
    const transaction = await under.executor.prepare(adapted.target, plan, options);
    transaction.dispose();
  } catch (thrown) {
    error = thrown;
  } finally {
    adapted.dispose?.();
  }
  expectUnchanged(before, memory, "after a refusal");
  if (error === null) fail("prepare accepted what it has to refuse");
  if (!isKvfoldError(error))
    throw new Error(`refused, but not with a KvfoldError: ${String(error)}`, { cause: error });
  if (code !== undefined && error.code !== code) fail(`refused with ${error.code}, should be ${code}`);
}
