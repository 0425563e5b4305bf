/**
 * Loads a plug-in from a module that the caller names by its path. Loading runs the module's code, with all rights of
 * this process: that is what the caller asked for, and nothing else of an expression is ever run.
 */
import { existsSync, statSync } from "node:fs";
import { extname, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { KvfoldError } from "./errors.js";
import { show } from "./options.js";
import { type Dependencies, type PluginKind, withDefaults } from "./plugin.js";
import { isPlugin } from "./registry.js";
import { isStrategy, type MergeStrategy, type StrategyPlugin } from "./strategy.js";
import type { WrapperPlugin } from "./wrapper.js";

const EXTENSIONS = [".js", ".mjs", ".cjs", ".ts", ".mts"];

/** True for a name that means a file: it contains a slash, or ends like a module. */
export function isModulePath(name: string): boolean {
  return /[/\\]/.test(name) || EXTENSIONS.includes(extname(name).toLowerCase());
}

/**
 * The strategy of a module: its default export is a factory from `defineStrategy`, another function that returns a
 * strategy, or a strategy.
 * @throws KvfoldError KVFOLD_MODULE when it is missing, throws or exports something else
 */
export async function loadStrategy(
  path: string,
  options: Readonly<Record<string, unknown>> | undefined,
  given: Partial<Dependencies> = {},
): Promise<MergeStrategy> {
  const dependencies = withDefaults(given);
  const found = await defaultExport(path, dependencies.cwd);
  if (isPlugin(found)) {
    if (found.definition.kind !== "strategy")
      throw wrongExport(path, `a ${found.definition.kind}`, "strategy");
    return (found as StrategyPlugin).make(options, dependencies);
  }
  if (isStrategy(found)) return withoutOptions(path, found, options);
  if (typeof found !== "function") throw wrongExport(path, describe(found), "strategy");
  const made: unknown = await callFactory(path, found as (options: unknown) => unknown, options ?? {});
  if (!isStrategy(made)) throw wrongExport(path, `a function that returns ${describe(made)}`, "strategy");
  return made;
}

/**
 * The wrapper of a module: its default export comes from `defineWrapper`.
 * @throws KvfoldError KVFOLD_MODULE
 */
export async function loadWrapper(path: string, given: Partial<Dependencies> = {}): Promise<WrapperPlugin> {
  const found = await defaultExport(path, withDefaults(given).cwd);
  if (!isPlugin(found)) throw wrongExport(path, describe(found), "wrapper");
  if (found.definition.kind !== "wrapper") throw wrongExport(path, `a ${found.definition.kind}`, "wrapper");
  return found as WrapperPlugin;
}

// ---------------------------------------------------------------------------------------------------------------

function moduleError(path: string, what: string, hint: string, cause?: unknown): KvfoldError {
  const reason = cause instanceof Error ? `: ${cause.message}` : "";
  return new KvfoldError("KVFOLD_MODULE", `the module ${JSON.stringify(path)} ${what}${reason}`, {
    who: "load",
    hint,
    ...(cause === undefined ? {} : { cause }),
  });
}

async function defaultExport(path: string, cwd: string): Promise<unknown> {
  const file = resolve(cwd, path);
  if (!existsSync(file)) throw moduleError(path, "does not exist", `it was looked for at ${file}`);
  if (!statSync(file).isFile()) throw moduleError(path, "is not a file", "give the path of its entry file");
  let loaded: { readonly default?: unknown };
  try {
    loaded = (await import(pathToFileURL(file).href)) as { readonly default?: unknown };
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException | null)?.code;
    const hint =
      code === "ERR_UNKNOWN_FILE_EXTENSION"
        ? "this Node.js runs JavaScript only: compile it first, or use Node.js 22.18 or later"
        : "load it with node alone to see the whole error";
    throw moduleError(path, "cannot be loaded", hint, cause);
  }
  if (loaded.default === undefined) throw wrongExport(path, "nothing", "strategy");
  return loaded.default;
}

async function callFactory(
  path: string,
  factory: (options: unknown) => unknown,
  options: object,
): Promise<unknown> {
  try {
    return await factory(options);
  } catch (cause) {
    if (cause instanceof KvfoldError) throw cause;
    throw moduleError(path, "exports a factory that throws", "see the cause", cause);
  }
}

function withoutOptions(path: string, strategy: MergeStrategy, options: object | undefined): MergeStrategy {
  const first = Object.keys(options ?? {})[0];
  if (first === undefined) return strategy;
  throw new KvfoldError(
    "KVFOLD_UNKNOWN_OPTION",
    `${path} exports a finished strategy, so ${first} cannot be set`,
    {
      who: strategy.name,
      hint: "export the factory instead",
    },
  );
}

function wrongExport(path: string, what: string, kind: PluginKind): KvfoldError {
  return moduleError(
    path,
    `exports ${what} by default`,
    `export default what define${KIND_NAME[kind]} returns`,
  );
}

const KIND_NAME: Readonly<Record<PluginKind, string>> = {
  strategy: "Strategy",
  wrapper: "Wrapper",
  scorer: "Scorer",
};

function describe(value: unknown): string {
  if (typeof value === "object" && value !== null) {
    const keys = Object.keys(value).slice(0, 8).join(", ");
    return keys === "" ? "an empty object" : `an object with ${keys}`;
  }
  return show(value);
}
