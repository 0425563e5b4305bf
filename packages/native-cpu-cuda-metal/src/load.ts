/** Finds and loads the compiled add-on, and says why when there is none. */
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { KvfoldError } from "@kvfold/core";
import type { NativeAddon } from "./addon.js";
import { defaultThreads } from "./threads.js";

/** Version of `kvfold_memory` that this package speaks (KVFOLD_MEMORY_ABI). */
const MEMORY_ABI = 2;
const BUILT = fileURLToPath(new URL("../build/Release/kvfold_native.node", import.meta.url));

let loaded: { readonly addon: NativeAddon; readonly path: string } | undefined;

function missing(what: string, hint: string, cause?: unknown): KvfoldError {
  return new KvfoldError("KVFOLD_NATIVE_MISSING", what, {
    who: "native",
    hint,
    ...(cause === undefined ? {} : { cause }),
  });
}

/** KVFOLD_NATIVE_PATH if set, and then nothing else; otherwise the build of this package. */
function locate(): string {
  const chosen = process.env.KVFOLD_NATIVE_PATH;
  if (chosen !== undefined && chosen !== "") {
    if (existsSync(chosen)) return chosen;
    throw missing(`KVFOLD_NATIVE_PATH names no file: ${chosen}`, "correct the variable or unset it");
  }
  if (existsSync(BUILT)) return BUILT;
  throw missing(
    `the native add-on is not built: ${BUILT} does not exist`,
    "build it with `npm run build:native -w @kvfold/native` (needs CMake and a C++17 compiler)",
  );
}

function load(path: string): NativeAddon {
  try {
    return createRequire(import.meta.url)(path) as NativeAddon;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw missing(`${path} cannot be loaded: ${reason}`, "build it again on this machine", error);
  }
}

/**
 * The add-on, loaded once for this thread.
 * @throws KvfoldError KVFOLD_NATIVE_MISSING
 */
export function loadAddon(): NativeAddon {
  if (loaded !== undefined) return loaded.addon;
  const path = locate();
  const addon = load(path);
  const abi = typeof addon.info === "function" ? addon.info().abi : "none";
  if (abi !== MEMORY_ABI) {
    throw missing(`${path} speaks interface ${abi}, this package ${MEMORY_ABI}`, "build it again");
  }
  loaded = { addon, path };
  return addon;
}

/** What is known of the add-on on this machine. */
export type BackendInfo =
  | {
      readonly loaded: true;
      /** The file. */
      readonly path: string;
      /** Instruction set of conversions: `scalar`, `f16c`. KVFOLD_ISA=scalar keeps to portable code. */
      readonly isa: string;
      /** Instruction set of attention and fits: `scalar`, `avx2`, `avx512`, `neon`; KVFOLD_ISA names the widest to use. */
      readonly attentionIsa: string;
      readonly backends: readonly string[];
      /** Devices of the CUDA backend, or why there is none, as a sentence. */
      readonly cuda: string;
      /** Threads that an executor uses by default. */
      readonly threads: number;
    }
  | { readonly loaded: false; readonly reason: string };

/**
 * Which binary was loaded, or why there is none. Never throws.
 *
 * @example
 * const info = backendInfo();
 * console.log(info.loaded ? `${info.path} (${info.isa})` : info.reason);
 */
export function backendInfo(): BackendInfo {
  try {
    const { isa, attentionIsa, backends, cuda } = loadAddon().info();
    const threads = defaultThreads();
    return { loaded: true, path: loaded!.path, isa, attentionIsa, backends, cuda, threads };
  } catch (error) {
    return { loaded: false, reason: error instanceof Error ? error.message : String(error) };
  }
}
