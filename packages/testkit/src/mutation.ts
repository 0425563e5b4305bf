/** One fault of a plan, and what faults are made with. */
import type { KvfoldErrorCode, MergePlan } from "@kvfold/core";

/** One way to break a valid plan. */
export interface Mutation {
  readonly name: string;
  readonly code: KvfoldErrorCode;
  /** The broken plan, or null where this fault cannot be made of that plan. Never changes its argument. */
  apply(plan: MergePlan): MergePlan | null;
}

type Typed = Uint32Array | Int32Array | Float32Array;

/** A copy with one element changed. */
export function put<T extends Typed>(array: T, index: number, value: number): T {
  const copy = array.slice() as T;
  copy[index] = value;
  return copy;
}

/** Names a fault. */
export const mutation = (
  name: string,
  code: KvfoldErrorCode,
  apply: (plan: MergePlan) => MergePlan | null,
): Mutation => ({ name, code, apply });
