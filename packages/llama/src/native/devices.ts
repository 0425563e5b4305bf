/** Devices beside the processor: their library is given by the caller, checked for its build, and loaded once. */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { KvfoldError } from "@kvfold/core";
import type { LlamaAddon } from "./addon.js";
import { failure, WHO, wrongArgument } from "./errors.js";
import { LLAMA_VERSION } from "./libraries.js";

/** What the prebuilt packages say of their build, beside the libraries. */
const BUILD_FILE = "_nlcBuildMetadata.json";

const loaded = new Set<string>();

/**
 * Loads the library of a device.
 * @throws KvfoldError KVFOLD_ARGUMENT, KVFOLD_LLAMA_VERSION for another build, KVFOLD_UNSUPPORTED without its driver
 */
function loadDeviceLibrary(addon: LlamaAddon, path: unknown): void {
  if (typeof path !== "string" || path === "")
    throw wrongArgument(`deviceLibrary is ${String(path)}`, "give a path");
  const file = resolve(path);
  if (loaded.has(file)) return;
  if (!existsSync(file)) throw wrongArgument(`deviceLibrary: ${file} does not exist`);
  checkBuild(file);
  addon.loadDeviceLibrary(file);
  loaded.add(file);
}

/** Libraries of another build could be loaded, and would write wrong memory. */
function checkBuild(file: string): void {
  const told = join(dirname(file), BUILD_FILE);
  const release = existsSync(told) ? releaseOf(readFileSync(told, "utf8")) : undefined;
  if (release === LLAMA_VERSION) return;
  const what =
    release === undefined ? `${told} does not tell which llama.cpp it is` : `it is llama.cpp ${release}`;
  throw new KvfoldError("KVFOLD_LLAMA_VERSION", `${file} cannot be used: ${what}`, {
    who: WHO,
    hint: `give a library of llama.cpp ${LLAMA_VERSION}, in the folder of its package`,
  });
}

function releaseOf(text: string): string | undefined {
  try {
    const { buildOptions } = JSON.parse(text) as { buildOptions?: { llamaCpp?: { release?: unknown } } };
    const release = buildOptions?.llamaCpp?.release;
    return typeof release === "string" ? release : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Layers for devices, after their library was loaded.
 * @throws KvfoldError KVFOLD_UNSUPPORTED when layers are asked for and there is no device, and what loading throws
 */
export function layersOnDevices(
  addon: LlamaAddon,
  options: { readonly gpuLayers?: number; readonly deviceLibrary?: string },
): number {
  const { gpuLayers = 0 } = options;
  if (!Number.isInteger(gpuLayers) || gpuLayers < 0 || gpuLayers > 1 << 20)
    throw wrongArgument(`gpuLayers is ${String(gpuLayers)}`, "give a whole number of at least 0");
  const library = options.deviceLibrary ?? process.env.KVFOLD_LLAMA_DEVICE_LIBRARY;
  if (library !== undefined && (library !== "" || options.deviceLibrary !== undefined))
    loadDeviceLibrary(addon, library);
  if (gpuLayers > 0 && addon.devices().every(({ kind }) => kind === "processor")) {
    const hint = "give deviceLibrary, or set KVFOLD_LLAMA_DEVICE_LIBRARY";
    throw failure("KVFOLD_UNSUPPORTED", "there is no device for gpuLayers", hint);
  }
  return gpuLayers;
}
