/** Loads the compiled bridge once for this thread, libraries first, and gives every error its code. */
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { KvfoldError } from "@kvfold/core";
import type { LlamaAddon } from "./addon.js";
import { failure, toKvfoldError, WHO } from "./errors.js";
import { findLibraries, type LlamaLibraries } from "./libraries.js";

export interface Bridge {
  readonly addon: LlamaAddon;
  readonly libraries: LlamaLibraries;
}

interface Preload {
  load(path: string): void;
}

let loaded: Bridge | undefined;

/** KVFOLD_LLAMA_NATIVE_PATH if set, and then nothing else; otherwise the build of this package. */
function builtFile(name: string): string {
  const chosen = process.env.KVFOLD_LLAMA_NATIVE_PATH;
  if (chosen !== undefined && chosen !== "") return join(chosen, name);
  return fileURLToPath(new URL(`../../build/Release/${name}`, import.meta.url));
}

function requireBuilt(name: string): unknown {
  const path = builtFile(name);
  const hint =
    "build it with `npm run build:native -w @kvfold/llama` (needs git, CMake and a C++17 compiler)";
  if (!existsSync(path)) {
    throw failure("KVFOLD_NATIVE_MISSING", `the native bridge is not built: ${path} does not exist`, hint);
  }
  try {
    return createRequire(import.meta.url)(path);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new KvfoldError("KVFOLD_NATIVE_MISSING", `${path} cannot be loaded: ${reason}`, {
      who: WHO,
      hint,
      cause,
    });
  }
}

/** Every function throws and rejects with KvfoldErrors. */
function withCodes(addon: LlamaAddon): LlamaAddon {
  const wrapped = Object.entries(addon as unknown as Record<string, (...args: unknown[]) => unknown>).map(
    ([name, call]) => {
      const checked = (...args: unknown[]): unknown => {
        try {
          const result = call(...args);
          if (!(result instanceof Promise)) return result;
          return result.catch((error: unknown) => Promise.reject(toKvfoldError(error)));
        } catch (error) {
          throw toKvfoldError(error);
        }
      };
      return [name, checked] as const;
    },
  );
  return Object.fromEntries(wrapped) as unknown as LlamaAddon;
}

/**
 * The bridge.
 * @throws KvfoldError KVFOLD_LLAMA_VERSION, KVFOLD_NATIVE_MISSING, KVFOLD_UNSUPPORTED
 */
export function loadBridge(): Bridge {
  if (loaded !== undefined) return loaded;
  const libraries = findLibraries();
  const preload = requireBuilt("kvfold_preload.node") as Preload;
  for (const file of libraries.files) {
    try {
      preload.load(file);
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new KvfoldError("KVFOLD_LLAMA_VERSION", `${file} cannot be loaded: ${reason}`, {
        who: WHO,
        hint: "reinstall @node-llama-cpp/linux-x64",
        cause,
      });
    }
  }
  const addon = withCodes(requireBuilt("kvfold_llama.node") as LlamaAddon);
  addon.loadBackends(libraries.folder);
  loaded = { addon, libraries };
  return loaded;
}

/** What is known of llama.cpp on this machine. */
export type LlamaInfo =
  | {
      readonly loaded: true;
      readonly packageVersion: string;
      readonly llamaVersion: string;
      readonly folder: string;
    }
  | { readonly loaded: false; readonly code: string; readonly reason: string };

/**
 * Which libraries were loaded, or why there are none. Never throws.
 *
 * @example
 * const info = llamaInfo();
 * console.log(info.loaded ? info.llamaVersion : info.reason);
 */
export function llamaInfo(): LlamaInfo {
  try {
    const { packageVersion, llamaVersion, folder } = loadBridge().libraries;
    return { loaded: true, packageVersion, llamaVersion, folder };
  } catch (error) {
    const { code, message } = toKvfoldError(error);
    return { loaded: false, code, reason: message };
  }
}
