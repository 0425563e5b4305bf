/** Loading a model: llama.cpp proves itself first. */
import { checkModelFile } from "../gguf/check.js";
import { wrongArgument } from "../native/errors.js";
import { selfTest } from "../self-test/self-test.js";
import { type LlamaModel, type LoadModelOptions, loadUnchecked } from "./model.js";

/**
 * Loads a model.
 *
 * @throws KvfoldError KVFOLD_MODEL_FILE, KVFOLD_LLAMA_VERSION, KVFOLD_NATIVE_MISSING, KVFOLD_LLAMA_SELF_TEST,
 * KVFOLD_ABORTED, KVFOLD_ARGUMENT
 *
 * @example
 * const model = await loadModel({ modelPath: "model.gguf" });
 * const context = await model.createContext({ contextSize: 8192 });
 * const { logits } = await context.sequence().prefill(await model.tokenize("Once upon a time"));
 */
export async function loadModel(options: LoadModelOptions): Promise<LlamaModel> {
  if (options === null || typeof options !== "object") throw wrongArgument("loadModel needs { modelPath }");
  if (options.selfTest !== false) {
    // a wrong path is told before a test that would take longer
    await checkModelFile(options.modelPath);
    await selfTest();
  }
  return loadUnchecked(options);
}
