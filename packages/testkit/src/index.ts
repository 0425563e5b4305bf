/** The public surface of @kvfold/testkit. */
export * from "./arbitraries.js";
export * from "./bounds.js";
export { EXECUTOR_CASES, type ExecutorCase } from "./executor-cases.js";
export {
  type Adapt,
  type Adapted,
  checkFold,
  checkRefusal,
  checkRollback,
  chooseDestinations,
  type ExecutorUnderTest,
} from "./executor-checks.js";
export { expectKeptBytes, expectReferenceRows } from "./executor-rows.js";
export * from "./expect-within.js";
export * from "./fake-cache.js";
export * from "./fake-queries.js";
export * from "./fake-shape.js";
export * from "./fake-target.js";
export type { FitBound, FitBoundOptions } from "./fit-bound.js";
export { checkFits, type FitUnderTest } from "./fit-checks.js";
export type { Mutation } from "./mutation.js";
export * from "./mutations.js";
export * from "./plan-values.js";
export * from "./plans.js";
export * from "./random.js";
export * from "./read-rows.js";
export * from "./runs.js";
export { STRATEGY_CASES, type StrategyCase } from "./strategy-cases.js";
export { type PlanRequest, type PlanResult, planContext, planOn } from "./strategy-checks.js";
export * from "./test-executor.js";
export * from "./test-strategy.js";
export * from "./watch-view.js";
