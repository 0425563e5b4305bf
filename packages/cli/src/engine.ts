/** Opens a model and a context for a task, and closes both whatever happens. */
import { KvfoldError, type SignalName } from "@kvfold/core";
import type { EvalEngine } from "@kvfold/eval";
import { type LlamaContext, type LlamaModel, loadModel, prefillAndFold, type Snapshot } from "@kvfold/llama";
import type { ModelFile } from "./model-file.js";
import type { Progress } from "./ui/progress.js";

/** How a cache is made. */
export interface CacheFlags {
  readonly cacheType: "f16" | "q8_0";
  readonly flashAttention: "on" | "off";
}

export interface EngineSettings extends CacheFlags {
  readonly model: ModelFile;
  readonly threads?: number;
}

export interface OpenOptions {
  readonly settings: EngineSettings;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

/** Contexts are made in steps of this many cells. */
const CONTEXT_STEP = 256;
/** Cells that the signal `repeat` needs besides the context: a chunk of 512 tokens and what introduces it. */
const REPEAT_CELLS = 576;

/** @throws KvfoldError KVFOLD_ARGUMENT */
export function refuseCacheFlags({ cacheType, flashAttention }: CacheFlags): void {
  if (cacheType !== "q8_0" || flashAttention !== "off") return;
  throw new KvfoldError("KVFOLD_ARGUMENT", "a q8_0 cache needs flash attention", {
    hint: "leave out --flash-attention off, or take --cache-type f16",
  });
}

/** @throws KvfoldError as the engine does; KVFOLD_MODEL_UNSUPPORTED when the model's cache cannot be folded */
export async function withModel<T>(
  { settings, progress, signal }: OpenOptions,
  work: (model: LlamaModel) => Promise<T>,
): Promise<T> {
  progress.now("loading the model");
  const model = await loadModel({
    modelPath: settings.model.path,
    signal,
    onProgress: (fraction) => progress.now(`loading the model, ${Math.round(100 * fraction)} %`),
  });
  try {
    const { supported } = model.info;
    if (supported !== true)
      throw unsupported(`the model ${JSON.stringify(settings.model.name)}: ${supported}`);
    return await work(model);
  } finally {
    await model.dispose();
  }
}

export interface Room {
  /** Tokens of the longest text that is read before a fold. */
  readonly prompt: number;
  /** Tokens that come after it. */
  readonly after: number;
  /** What is captured; a second reading needs room. */
  readonly signals: readonly SignalName[];
}

/** @throws KvfoldError as the engine does; KVFOLD_MODEL_UNSUPPORTED when the cache cannot be folded */
export async function withEngine<T>(
  model: LlamaModel,
  settings: EngineSettings,
  { prompt, after, signals }: Room,
  work: (engine: EvalEngine<Snapshot>) => Promise<T>,
): Promise<T> {
  const cells = prompt + (signals.includes("repeat") ? Math.max(after, REPEAT_CELLS) : after);
  const context = await model.createContext({
    contextSize: Math.ceil(cells / CONTEXT_STEP) * CONTEXT_STEP,
    flashAttention: settings.flashAttention,
    cacheType: settings.cacheType,
    ...(settings.threads === undefined ? {} : { threads: settings.threads }),
  });
  try {
    if (context.supported !== true) {
      throw unsupported(`the cache of ${settings.model.name} cannot be folded: ${context.supported}`);
    }
    return await work(engineOf(context));
  } finally {
    await context.dispose();
  }
}

/** @throws KvfoldError KVFOLD_ARGUMENT */
export function refuseTokens(model: LlamaModel, tokens: number, words: string): void {
  const { trainedContext } = model.info;
  if (tokens <= trainedContext) return;
  throw new KvfoldError("KVFOLD_ARGUMENT", `${words} is beyond the model's context`, {
    hint: `it was trained for ${trainedContext} tokens; ask for at most as many`,
  });
}

// ---------------------------------------------------------------------------------------------------------------

function engineOf(context: LlamaContext): EvalEngine<Snapshot> {
  const sequence = context.sequence();
  return { sequence, readAndFold: (tokens, options) => prefillAndFold(sequence, tokens, options) };
}

function unsupported(what: string): KvfoldError {
  return new KvfoldError("KVFOLD_MODEL_UNSUPPORTED", what, {
    hint: "kvfold inspect model shows what is known about it",
  });
}
