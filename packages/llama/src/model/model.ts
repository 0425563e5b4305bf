/** A model: weights and vocabulary, from a GGUF file. */
import { resolve } from "node:path";
import { type KvfoldError, throwIfAborted } from "@kvfold/core";
import { createContext, type LlamaContext } from "../context/context.js";
import type { ContextOptions } from "../context/options.js";
import { checkModelFile } from "../gguf/check.js";
import type { LlamaAddon, ModelHandle, RawModel } from "../native/addon.js";
import { loadBridge } from "../native/bridge.js";
import { layersOnDevices } from "../native/devices.js";
import { failure, WHO, wrongArgument } from "../native/errors.js";
import { checkTokens } from "../sequence/evaluate.js";
import { modelSupported } from "./supported.js";

export interface LoadModelOptions {
  /** A GGUF file. */
  readonly modelPath: string;
  readonly signal?: AbortSignal;
  /** Share of the file that was read, 0 to 1. */
  readonly onProgress?: (fraction: number) => void;
  /**
   * Layers whose weights and cache go to the devices that are loaded, the last ones first; default 0, none. Needs
   * `deviceLibrary`, once for the process.
   */
  readonly gpuLayers?: number;
  /**
   * A backend library of the same llama.cpp build, for example `libggml-vulkan.so` of
   * `@node-llama-cpp/linux-x64-vulkan`. Default: the environment variable KVFOLD_LLAMA_DEVICE_LIBRARY. Loaded once for
   * the process; nothing is ever downloaded.
   */
  readonly deviceLibrary?: string;
  /** Check the live cache of this llama.cpp, once for this thread, before anything relies on it; default true. */
  readonly selfTest?: boolean;
}

export interface ModelInfo {
  /** Absolute. */
  readonly path: string;
  readonly architecture: string;
  readonly name: string;
  readonly parameters: number;
  readonly layers: number;
  /** Width of the residual stream. */
  readonly embedding: number;
  readonly vocabularySize: number;
  /** Tokens. */
  readonly trainedContext: number;
  readonly fileBytes: number;
  /** As llama.cpp names it, for example "Q8_0". */
  readonly quantization?: string;
  /** true, or why its cache cannot be folded. The model can be used either way. */
  readonly supported: true | string;
}

export interface TokenizeOptions {
  /** Read names of special tokens in the text as these tokens; default false. */
  readonly special?: boolean;
  /** Put the beginning-of-text token first if the model wants one; default true. */
  readonly bos?: boolean;
}

export interface LlamaModel {
  readonly info: ModelInfo;
  /**
   * About a microsecond a byte, on another thread.
   * @throws KvfoldError KVFOLD_ARGUMENT, KVFOLD_MODEL_UNSUPPORTED without a vocabulary, KVFOLD_DISPOSED
   */
  tokenize(text: string, options?: TokenizeOptions): Promise<Int32Array>;
  /**
   * The text of tokens, special ones by name.
   * @throws KvfoldError KVFOLD_ARGUMENT, KVFOLD_MODEL_UNSUPPORTED without a vocabulary, KVFOLD_DISPOSED
   */
  detokenize(tokens: ArrayLike<number>): Promise<string>;
  /** The piece of one token, special tokens by name. */
  tokenText(token: number): string;
  isEndOfGeneration(token: number): boolean;
  /** `tokenize` puts `bosToken` first. */
  readonly addsBos: boolean;
  /** -1: there is none. */
  readonly bosToken: number;
  /** @throws KvfoldError KVFOLD_ARGUMENT, KVFOLD_CONTEXT, KVFOLD_DISPOSED */
  createContext(options?: ContextOptions): Promise<LlamaContext<LlamaModel>>;
  /** The weights are freed when the last context is. Twice does no harm. */
  dispose(): Promise<void>;
}

/** Loads a model without the self-test of llama.cpp. */
export async function loadUnchecked(options: Omit<LoadModelOptions, "selfTest">): Promise<LlamaModel> {
  const { modelPath, signal, onProgress } = options;
  throwIfAborted(signal, WHO);
  const { fileBytes } = await checkModelFile(modelPath);
  const { addon } = loadBridge();
  const deviceLayers = layersOnDevices(addon, options);
  const handle = await loadWeights(addon, resolve(modelPath), deviceLayers, signal, onProgress);
  return modelObject(addon, handle, resolve(modelPath), fileBytes, deviceLayers);
}

/** @throws KvfoldError KVFOLD_MODEL_FILE, KVFOLD_ABORTED */
async function loadWeights(
  addon: LlamaAddon,
  path: string,
  deviceLayers: number,
  signal: AbortSignal | undefined,
  onProgress: ((fraction: number) => void) | undefined,
): Promise<ModelHandle> {
  const flag = addon.createFlag();
  const cancel = (): void => addon.raiseFlag(flag);
  const progress = progressOf(onProgress, cancel);
  signal?.addEventListener("abort", cancel, { once: true });
  try {
    throwIfAborted(signal, WHO);
    const handle = await addon.loadModel(path, deviceLayers, flag, progress.tell);
    progress.finish();
    return handle;
  } catch (error) {
    if ((error as KvfoldError).code === "KVFOLD_ABORTED") progress.rethrow();
    if ((error as KvfoldError).code === "KVFOLD_ABORTED") throwIfAborted(signal, WHO);
    throw error;
  } finally {
    signal?.removeEventListener("abort", cancel);
  }
}

/**
 * Reports come from another thread and may arrive after the end: the last one is always 1, and nothing follows. A
 * callback that throws stops the loading.
 */
function progressOf(onProgress: ((fraction: number) => void) | undefined, cancel: () => void) {
  let finished = false;
  let thrown: { readonly error: unknown } | null = null;
  const tell = (fraction: number): void => {
    if (finished || thrown !== null || fraction >= 1) return;
    try {
      onProgress?.(fraction);
    } catch (error) {
      thrown = { error };
      cancel();
    }
  };
  return {
    tell,
    finish: (): void => {
      finished = true;
      onProgress?.(1);
    },
    rethrow: (): void => {
      if (thrown !== null) throw thrown.error;
    },
  };
}

function infoOf(
  addon: LlamaAddon,
  handle: ModelHandle,
  raw: RawModel,
  path: string,
  fileBytes: number,
): ModelInfo {
  const metaNumber = (key: string): number => {
    const value = Number(addon.metaValue(handle, `${raw.architecture}.${key}`) ?? 0);
    return Number.isFinite(value) ? value : 0;
  };
  return {
    path,
    architecture: raw.architecture,
    name: raw.name,
    parameters: raw.parameters,
    layers: raw.layers,
    embedding: raw.embedding,
    vocabularySize: raw.vocabularySize,
    trainedContext: raw.trainedContext,
    fileBytes,
    ...(raw.quantization === undefined ? {} : { quantization: raw.quantization }),
    supported: modelSupported(raw, metaNumber),
  };
}

function modelObject(
  addon: LlamaAddon,
  handle: ModelHandle,
  path: string,
  fileBytes: number,
  deviceLayers: number,
): LlamaModel {
  const raw = addon.describeModel(handle);
  const needText = (text: unknown): string => {
    if (typeof text === "string") return text;
    throw wrongArgument(`the text is of type ${typeof text}`, "give a string");
  };
  const info = infoOf(addon, handle, raw, path, fileBytes);
  const model: LlamaModel = {
    info,
    tokenize: async (text, { special = false, bos = true } = {}) =>
      addon.tokenize(handle, needText(text), bos, special),
    detokenize: async (tokens) =>
      tokens.length === 0 ? "" : addon.detokenize(handle, checkTokens(tokens, raw.vocabularySize)),
    tokenText: (token) => addon.tokenText(handle, token),
    isEndOfGeneration: (token) => addon.isEnd(handle, token),
    addsBos: raw.addsBos,
    bosToken: raw.bosToken,
    createContext: async (options = {}) => {
      if (options === null || typeof options !== "object")
        throw failure("KVFOLD_ARGUMENT", "options must be an object");
      return createContext({ addon, handle, raw, model, supported: info.supported, deviceLayers }, options);
    },
    dispose: () => addon.freeModel(handle),
  };
  return model;
}
