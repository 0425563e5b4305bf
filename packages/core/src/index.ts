/** The public surface of @kvfold/core. */

export * from "./attention/index.js";
export * from "./budget.js";
export * from "./cache.js";
export * from "./dtype/dtypes.js";
export { decodeBF16, decodeF16, encodeBF16, encodeF16 } from "./dtype/half.js";
export * from "./errors.js";
export * from "./executor.js";
export * from "./expression/ast.js";
export * from "./expression/parse.js";
export { printExpression } from "./expression/print.js";
export * from "./expression/resolve.js";
export * from "./fits.js";
export * from "./fold.js";
export * from "./hadamard.js";
export * from "./load-module.js";
export * from "./log.js";
export { createMemoryCache, type MemoryCache, type MemoryCacheOptions } from "./memory-cache.js";
export type { MemoryContents } from "./memory-fill.js";
export * from "./ops.js";
export * from "./ops-reference.js";
export * from "./options.js";
export * from "./plan/builder.js";
export * from "./plan/check.js";
export { DEFAULT_PLAN_LIMITS, type PlanLimits } from "./plan/check-structure.js";
export { checkFitSample } from "./plan/check-values.js";
export { decodePlan, encodePlan, type PlanFile } from "./plan/codec.js";
export * from "./plan/compose.js";
export * from "./plan/file.js";
export * from "./plan/hash.js";
export * from "./plan/keep.js";
export * from "./plan/no-op.js";
export * from "./plan/plan.js";
export * from "./plan/print.js";
export * from "./plan/rows.js";
export { valueReader, withFit } from "./plan/values.js";
export * from "./plan/weights.js";
export type { CommonDefinition, Dependencies, PluginInfo, PluginKind } from "./plugin.js";
export * from "./queries.js";
export * from "./random.js";
export {
  createReferenceExecutor,
  type ReferenceExecutorOptions,
  referenceExecutor,
} from "./reference/executor.js";
export { materialise } from "./reference/materialise.js";
export type { FoldFault, FoldStep } from "./reference/transaction.js";
export * from "./registry.js";
export * from "./rope.js";
export * from "./scorer.js";
export * from "./shape.js";
export * from "./standard-schema.js";
export * from "./strategy.js";
export * from "./suggest.js";
export * from "./view.js";
export * from "./wrapper.js";
