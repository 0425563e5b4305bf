/** The promises of an executor as plain functions: each returns, or throws an error that names the broken promise. */
import {
  type Executor,
  type FoldTransaction,
  isKvfoldError,
  type MemoryTarget,
  type MergePlan,
  type PrepareOptions,
  type QuerySample,
  referenceExecutor,
} from "@kvfold/core";
import { expectKeptBytes, expectReferenceRows } from "./executor-rows.js";
import { brokenGuards, copyTarget } from "./fake-target.js";
import { checkFits } from "./fit-checks.js";
import { seededRandom } from "./random.js";
import { firstDifference } from "./read-rows.js";

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
  options: PrepareOptions,
  use: (transaction: FoldTransaction) => Promise<void>,
): Promise<void> {
  const adapted = await under.adapt(memory);
  try {
    const transaction = await under.executor.prepare(adapted.target, plan, options);
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

const IN_MEMORY = { executor: referenceExecutor, adapt: (own: MemoryTarget) => ({ target: own }) };

/** Prepare only reads; commit writes the planned rows, right, and nothing else; the same again gives the same bytes. */
export async function checkFold<Target>(
  under: ExecutorUnderTest<Target>,
  memory: MemoryTarget,
  plan: MergePlan,
  destinations: Uint32Array,
  queries: QuerySample | null = null,
): Promise<void> {
  const options = { destinations, queries };
  const before = copyTarget(memory);
  const reference = copyTarget(memory);
  const again = copyTarget(memory);
  let fits: FoldTransaction["fits"] = null;
  await withTransaction(IN_MEMORY, reference, plan, options, (transaction) => transaction.commit());
  await withTransaction(under, memory, plan, options, async (transaction) => {
    fits = transaction.fits;
    expectUnchanged(before, memory, "after prepare");
    await transaction.commit();
  });
  expectUnchanged(before, memory, "cells outside the plan, after commit", new Set(destinations));
  expectReferenceRows(before, memory, reference, plan, destinations);
  expectKeptBytes(before, memory, plan, destinations);
  if (plan.fit !== null && queries !== null) {
    const kept = copyTarget(before);
    await withTransaction(IN_MEMORY, kept, { ...plan, fit: null }, options, (transaction) =>
      transaction.commit(),
    );
    checkFits({ plan, fit: plan.fit, queries, destinations, before, after: memory, reference, kept }, fits);
  } else if (fits !== null) fail("fits: reported, but the plan has none");
  await withTransaction(under, again, plan, options, (transaction) => transaction.commit());
  expectUnchanged(memory, again, "a second run on the same memory");
}

/** Rollback after commit puts every byte back; a transaction that was only prepared leaves no trace. */
export async function checkRollback<Target>(
  under: ExecutorUnderTest<Target>,
  memory: MemoryTarget,
  plan: MergePlan,
  destinations: Uint32Array,
  queries: QuerySample | null = null,
): Promise<void> {
  const options = { destinations, queries };
  const before = copyTarget(memory);
  await withTransaction(under, memory, plan, options, async (transaction) => {
    await transaction.commit();
    await transaction.rollback();
  });
  expectUnchanged(before, memory, "after rollback");
  await withTransaction(under, memory, plan, options, async () => {});
  expectUnchanged(before, memory, "after prepare and dispose");
}

/** A plan or destinations that do not fit, or an abort, is refused with a KvfoldError; no byte changes. */
export async function checkRefusal<Target>(
  under: ExecutorUnderTest<Target>,
  memory: MemoryTarget,
  plan: MergePlan,
  options: PrepareOptions,
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
