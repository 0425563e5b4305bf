/** What the tests of hostile arguments share: a small memory, a plan for it, and ways to spoil both. */
import type { Executor, MemoryTarget, SharedPlan } from "@kvfold/core";
import { type ExecutorUnderTest, type FakeTarget, fakeTarget, shared } from "@kvfold/testkit";
import { createNativeExecutor } from "../src/executor.js";
import { memoryFromTarget, type NativeTarget } from "../src/memory.js";

/** Two layers of f16, of two heads and of one; 12 cells. */
export const memory: FakeTarget = fakeTarget(5, {
  cells: 12,
  keyType: "f16",
  layers: [{ kvHeads: 2 }, { kvHeads: 1 }],
});
/** Neighbours in pairs. */
export const plan: SharedPlan = shared(memory, { group: [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5] });
export const destinations: Uint32Array = memory.slots.slice().sort().slice(0, plan.rows);
export const executor: Executor<NativeTarget> = createNativeExecutor({ threads: 2 });
export const under: ExecutorUnderTest<NativeTarget> = {
  executor,
  adapt: (own: MemoryTarget) => ({ target: memoryFromTarget(own) }),
};

export type Change = (target: NativeTarget) => Partial<Record<keyof NativeTarget, unknown>>;

/** The executor over targets with some fields replaced. */
export const withSpoiledTarget = (change: Change): ExecutorUnderTest<NativeTarget> => ({
  executor,
  adapt: (own: MemoryTarget) => {
    const target = memoryFromTarget(own);
    return { target: { ...target, ...change(target) } as NativeTarget };
  },
});

/** A copy with one element changed. */
export function put<T extends Uint32Array | Float32Array | Int32Array>(
  array: T,
  index: number,
  value: number,
): T {
  const copy = array.slice() as T;
  copy[index] = value;
  return copy;
}
