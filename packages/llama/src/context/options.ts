/** Options of a context: defaults, ranges, and whether they fit this machine. */
import { totalmem } from "node:os";
import { type DType, rowBytes } from "@kvfold/core";
import { defaultThreads } from "@kvfold/native";
import type { RawContextOptions, RawModel } from "../native/addon.js";
import { failure, wrongArgument } from "../native/errors.js";

export interface ContextOptions {
  /** Cells of each sequence; with `unified`, of all of them together. Default: what the model was trained with, at most 8192. */
  readonly contextSize?: number;
  /** Sequences that live side by side; default 1. */
  readonly sequences?: number;
  /** One pool of cells for all sequences, so that attention is as long as the highest cell of any; default false. */
  readonly unified?: boolean;
  /** Tokens of one evaluation; default 512. */
  readonly batchSize?: number;
  /** Default "on". "off" stores values transposed and allows no quantised cache. */
  readonly flashAttention?: "on" | "off";
  /** Type of keys and values; default "f16". */
  readonly cacheType?: "f32" | "f16" | "q8_0";
  /** Default: physical cores minus one, at least 1. */
  readonly threads?: number;
  /**
   * What folds. "auto" (default): the native executor where the processor reaches the cache by address, else the ggml
   * executor on the devices that hold it. "ggml": always the latter.
   */
  readonly executor?: "auto" | "ggml";
}

const LIMITS = { contextSize: 1 << 26, sequences: 256, batchSize: 1 << 16, threads: 256 } as const;
const CACHE_TYPES: readonly string[] = ["f32", "f16", "q8_0"];

function whole(name: keyof typeof LIMITS, value: number): number {
  if (Number.isInteger(value) && value >= 1 && value <= LIMITS[name]) return value;
  throw wrongArgument(`${name} is ${String(value)}`, `give a whole number from 1 to ${LIMITS[name]}`);
}

const KNOWN = [
  "contextSize",
  "sequences",
  "unified",
  "batchSize",
  "flashAttention",
  "cacheType",
  "threads",
  "executor",
];

function checkNames(options: ContextOptions): void {
  const unknown = Object.keys(options).find((name) => !KNOWN.includes(name));
  if (unknown !== undefined)
    throw wrongArgument(`unknown option "${unknown}"`, `known are ${KNOWN.join(", ")}`);
}

/**
 * Checked options in the words of the bridge.
 * @param deviceLayers layers of the model that live on a device
 * @throws KvfoldError KVFOLD_ARGUMENT, KVFOLD_CONTEXT when the cache would not fit this machine's memory
 */
export function contextOptions(
  options: ContextOptions,
  model: RawModel,
  deviceLayers: number,
): RawContextOptions {
  checkNames(options);
  const { executor = "auto" } = options;
  if (executor !== "auto" && executor !== "ggml")
    throw wrongArgument(`executor is ${String(executor)}`, 'give "auto" or "ggml"');
  const { flashAttention = "on", cacheType = "f16", unified = false } = options;
  if (flashAttention !== "on" && flashAttention !== "off") {
    throw wrongArgument(`flashAttention is ${String(flashAttention)}`, 'give "on" or "off"');
  }
  if (!CACHE_TYPES.includes(cacheType)) {
    throw wrongArgument(`cacheType is ${String(cacheType)}`, `give one of ${CACHE_TYPES.join(", ")}`);
  }
  if (cacheType === "q8_0" && flashAttention === "off") {
    throw wrongArgument(
      "quantised values need flash attention",
      'give flashAttention "on" or cacheType "f16"',
    );
  }
  const sequences = whole("sequences", options.sequences ?? 1);
  const trained = Math.min(8192, Math.max(1, model.trainedContext));
  const contextSize = whole("contextSize", options.contextSize ?? trained);
  const context = unified ? contextSize : contextSize * sequences;
  // a device tells itself that it has no room
  if (deviceLayers === 0) checkMemory(context, cacheType, model);
  return {
    context,
    sequences,
    unified: Boolean(unified),
    batch: whole("batchSize", options.batchSize ?? 512),
    flashAttention: flashAttention === "on",
    cacheType,
    threads: whole("threads", options.threads ?? defaultThreads()),
  };
}

/** Systems that promise memory they do not have would kill the process instead of refusing the allocation. */
function checkMemory(cells: number, cacheType: DType, model: RawModel): void {
  const heads = Math.max(1, model.kvHeads);
  const channels = Math.ceil((model.embedding / Math.max(1, model.heads)) * heads);
  const block = cacheType === "q8_0" ? 32 : 1;
  const bytes = 2 * model.layers * cells * rowBytes(cacheType, Math.ceil(channels / block) * block);
  if (bytes <= totalmem()) return;
  throw failure(
    "KVFOLD_CONTEXT",
    `a cache of ${cells} cells needs about ${(bytes / 2 ** 30).toFixed(1)} GiB, this machine has ${(totalmem() / 2 ** 30).toFixed(1)}`,
    "give a smaller contextSize or fewer sequences",
  );
}
