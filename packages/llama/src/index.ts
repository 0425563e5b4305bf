/** The public surface of @kvfold/llama. */
export type { LlamaContext } from "./context/context.js";
export type { ContextOptions } from "./context/options.js";
export {
  type PrefillAndFoldOptions,
  type PrefillAndFoldReport,
  prefillAndFold,
} from "./fold/prefill-and-fold.js";
export { loadModel } from "./model/load.js";
export type { LlamaModel, LoadModelOptions, ModelInfo, TokenizeOptions } from "./model/model.js";
export { type LlamaInfo, llamaInfo } from "./native/bridge.js";
export { LLAMA_VERSION, PACKAGE_VERSION } from "./native/libraries.js";
export { selfTest } from "./self-test/self-test.js";
export type { GenerateOptions, PrefillOptions, PrefillReport } from "./sequence/evaluate.js";
export type { QueryLimits } from "./sequence/queries.js";
export type { Generation, LlamaSequence } from "./sequence/sequence.js";
export type { Snapshot } from "./sequence/snapshot.js";
