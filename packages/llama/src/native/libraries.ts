/** Finds the prebuilt llama.cpp libraries and refuses any version but the one that the bridge is written for. */
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { KvfoldError } from "@kvfold/core";

/** Version of `@node-llama-cpp/linux-x64`; it carries llama.cpp v0.5.0. */
export const PACKAGE_VERSION = "3.22.1";
export const LLAMA_VERSION = "v0.5.0";
const PACKAGE = "@node-llama-cpp/linux-x64";

/** In the order in which they need each other. */
export const LIBRARY_FILES: readonly string[] = [
  "libggml-base.so",
  `libggml.${LLAMA_VERSION}.so`,
  `libllama.${LLAMA_VERSION}.so`,
];

export interface LlamaLibraries {
  /** Folder of the libraries and of the processor backends beside them. */
  readonly folder: string;
  readonly packageVersion: string;
  readonly llamaVersion: string;
  /** Absolute paths, in loading order. */
  readonly files: readonly string[];
}

const wrongVersion = (what: string, cause?: unknown): KvfoldError =>
  new KvfoldError("KVFOLD_LLAMA_VERSION", what, {
    who: "llama",
    hint: `install exactly ${PACKAGE}@${PACKAGE_VERSION} (llama.cpp ${LLAMA_VERSION})`,
    ...(cause === undefined ? {} : { cause }),
  });

/** The package does not export its package.json, so its folder is found from its entry. */
function packageFolder(resolve: (name: string) => string): string {
  try {
    let folder = dirname(resolve(PACKAGE));
    while (!existsSync(join(folder, "package.json"))) {
      if (dirname(folder) === folder) throw new Error(`no package.json above ${resolve(PACKAGE)}`);
      folder = dirname(folder);
    }
    return folder;
  } catch (cause) {
    throw wrongVersion(`the llama.cpp libraries are not installed: ${PACKAGE} cannot be found`, cause);
  }
}

/**
 * The libraries of this machine.
 * @param resolve name of a package to the path of its entry; for tests
 * @throws KvfoldError KVFOLD_LLAMA_VERSION, KVFOLD_UNSUPPORTED on a platform without them
 */
export function findLibraries(
  resolve: (name: string) => string = createRequire(import.meta.url).resolve,
): LlamaLibraries {
  if (process.platform !== "linux" || process.arch !== "x64") {
    throw new KvfoldError("KVFOLD_UNSUPPORTED", `no live engine for ${process.platform}-${process.arch}`, {
      who: "llama",
      hint: "it runs on linux-x64",
    });
  }
  const root = packageFolder(resolve);
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version?: unknown };
  if (version !== PACKAGE_VERSION)
    throw wrongVersion(`${PACKAGE} is ${String(version)}, not ${PACKAGE_VERSION}`);
  const folder = join(root, "bins", "linux-x64");
  const files = LIBRARY_FILES.map((name) => join(folder, name));
  const absent = files.find((file) => !existsSync(file));
  if (absent !== undefined) throw wrongVersion(`${absent} is missing`);
  return { folder, packageVersion: version, llamaVersion: LLAMA_VERSION, files };
}
