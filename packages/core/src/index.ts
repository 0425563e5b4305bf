/** The public surface of @kvfold/core. */
export * from "./cache.js";
export * from "./errors.js";
export * from "./executor.js";
export * from "./log.js";
export * from "./ops.js";
export * from "./plan/plan.js";
export * from "./scorer.js";
export * from "./shape.js";
export * from "./strategy.js";
export * from "./view.js";
