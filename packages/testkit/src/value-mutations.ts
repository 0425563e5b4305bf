/** Single faults in what a plan says about values. */
import {
  type CompositePlan,
  type DenseValues,
  type FitRequest,
  type KvfoldErrorCode,
  type MergePlan,
  PIN_LEVEL,
} from "@kvfold/core";
import { type Mutation, mutation, put } from "./mutation.js";

/** A composite plan knows its layers and heads, and so how long a mask has to be. */
const withFit = (
  name: string,
  code: KvfoldErrorCode,
  spoil: (fit: FitRequest) => Partial<FitRequest>,
): Mutation =>
  mutation(name, code, (plan) => {
    if (plan.layout !== "composite") return null;
    const free = new Uint8Array(plan.members.length);
    free[0] = 1;
    const valid: FitRequest = {
      ...{ method: "ridge", lambda: 0.01, free, horizon: 64, maxRows: 2 ** 12, holdout: 5 },
      queries: "0123456789abcdef".repeat(4),
    };
    return { ...plan, values: null, fit: { ...valid, ...spoil(valid) } };
  });

/** A change of values that are given. */
const withValues = (
  name: string,
  code: KvfoldErrorCode,
  spoil: (values: DenseValues, plan: MergePlan) => Partial<MergePlan> | null,
): Mutation =>
  mutation(name, code, (plan) => {
    const changes = plan.values?.data.length ? spoil(plan.values, plan) : null;
    return changes && ({ ...plan, ...changes } as MergePlan);
  });

/** The same cell in one row of every head; where a head has it in another row, the two rows swap. */
function agreeing(plan: CompositePlan, row: number): Uint32Array {
  const members = plan.members.slice();
  const cell = members[row]!;
  for (let from = 0; from < members.length; from += plan.rows) {
    const at = members.subarray(from, from + plan.rows).indexOf(cell);
    if (at >= 0) members[from + at] = members[from + row]!;
    members[from + row] = cell;
  }
  return members;
}

/** Faults of fits and of given values. */
export const valueFaults: readonly Mutation[] = [
  withFit("lambda of 0", "KVFOLD_PLAN_FIT", () => ({ lambda: 0 })),
  withFit("lambda of NaN", "KVFOLD_PLAN_FIT", () => ({ lambda: Number.NaN })),
  withFit("lambda of 1001", "KVFOLD_PLAN_FIT", () => ({ lambda: 1001 })),
  withFit("nobody judges the fit", "KVFOLD_PLAN_FIT", () => ({ holdout: 1 })),
  withFit("a holdout of more than the query rows", "KVFOLD_PLAN_FIT", () => ({ maxRows: 8, holdout: 9 })),
  withFit("no horizon", "KVFOLD_PLAN_FIT", () => ({ horizon: 0 })),
  withFit("a horizon of 2^21", "KVFOLD_PLAN_FIT", () => ({ horizon: 2 ** 21 })),
  withFit("no query rows", "KVFOLD_PLAN_FIT", () => ({ maxRows: 0 })),
  withFit("more free rows than query rows bear", "KVFOLD_PLAN_FIT", () => ({ maxRows: 4, holdout: 2 })),
  withFit("a fit mask cut", "KVFOLD_PLAN_SHAPE", ({ free }) => ({ free: free.slice(1) })),
  withValues("values both given and solved for", "KVFOLD_PLAN_FIT", ({ given }) => {
    const queries = "0123456789abcdef".repeat(4);
    const numbers = { lambda: 0.01, horizon: 64, maxRows: 2 ** 12, holdout: 5 };
    return { fit: { method: "ridge", free: given, queries, ...numbers } };
  }),
  withValues("a given mark of 2", "KVFOLD_PLAN_FIT", (values) => ({
    values: { ...values, given: values.given.map((bit) => 2 * bit) },
  })),
  withValues("a given value of NaN", "KVFOLD_PLAN_FIT", (values) => ({
    values: { ...values, data: put(values.data, values.data.length - 1, Number.NaN) },
  })),
  withValues("one given value short", "KVFOLD_PLAN_SHAPE", (values) => ({
    values: { ...values, data: values.data.slice(1) },
  })),
  withValues("a mask of given rows cut", "KVFOLD_PLAN_SHAPE", (values) => ({
    values: { ...values, given: values.given.slice(1) },
  })),
  withValues("exact pin with a given value", "KVFOLD_PLAN_PIN", ({ given }, plan) => {
    if (plan.layout !== "composite") return null;
    const row = given.indexOf(1) % plan.rows;
    const pins = new Uint8Array(plan.cells);
    pins[plan.members[row]!] = PIN_LEVEL.exact;
    return { members: agreeing(plan, row), pins };
  }),
];
