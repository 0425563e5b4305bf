/** What a script needs to fold the cache of a model: `import { fold, loadModel } from "kvfold"`. */
export {
  type FoldOptions,
  type FoldReport,
  fold,
  isKvfoldError,
  KvfoldError,
  loadPlan,
  type MergePlan,
  type MergeStrategy,
  printPlan,
  resolveStrategy,
  savePlan,
} from "@kvfold/core";
export {
  type LlamaContext,
  type LlamaModel,
  type LlamaSequence,
  loadModel,
  prefillAndFold,
} from "@kvfold/llama";
export { heldoutTextPath, nanoModelPath } from "@kvfold/model-nano";
export * from "@kvfold/strategies";
