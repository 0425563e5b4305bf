/** The public surface of @kvfold/strategies: every built-in, and the parts that custom strategies are made of. */
export * from "./_registry.js";
export * from "./default.js";
export type { EvictOptions } from "./evict.js";
export { BUILT_IN_LIST, LIST_LIMITS } from "./ngram/list.js";
export type { NgramPairsOptions } from "./ngram-pairs.js";
export * from "./parts/grouper.js";
export * from "./parts/heads.js";
export * from "./parts/merge.js";
export type { RefitOptions } from "./parts/refit-options.js";
export * from "./parts/scores.js";
export * from "./parts/weigher.js";
export type { FrmsOptions } from "./scorers/frms.js";
export type { MaxOptions } from "./scorers/max.js";
export type { SnapkvOptions } from "./scorers/snapkv.js";
export type { PinOptions } from "./wrappers/pin.js";
export type { SelfExtendOptions } from "./wrappers/self-extend.js";
