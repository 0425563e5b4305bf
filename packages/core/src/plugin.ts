/** What strategies, scorers and wrappers have in common: a name, described options, and what they may ask for. */
import { readFileSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { KvfoldError } from "./errors.js";
import type { OptionsDefinition, OptionTable } from "./options.js";
import type { SignalName } from "./view.js";

export type PluginKind = "strategy" | "scorer" | "wrapper";

/** What a plug-in says about itself; what `kvfold list` prints. */
export interface PluginInfo {
  readonly kind: PluginKind;
  readonly name: string;
  /** One sentence: what it does. */
  readonly summary: string;
  /** Paper (arXiv id) or pull request. */
  readonly source?: string;
  readonly options: OptionTable;
  /** The list option that takes unnamed values: `max(keydiff,surprise)`. */
  readonly positional?: string;
  /** Signals that it always needs; its options may add more. */
  readonly signals: readonly SignalName[];
}

/** The outside world, as far as a plug-in may touch it, and only while it is being made. */
export interface Dependencies {
  /** Folder against which paths in options are resolved. */
  readonly cwd: string;
  /**
   * Reads a text file in UTF-8, at most `limitBytes` long.
   * @throws KvfoldError KVFOLD_FILE
   */
  readText(path: string, limitBytes: number): string;
}

/** What all three kinds of definition say about themselves. */
export interface CommonDefinition<O extends object> {
  /** Unique within its kind; letters, digits, - and _. */
  readonly name: string;
  /** One sentence: what it does. */
  readonly summary: string;
  /** Paper (arXiv id) or pull request. */
  readonly source?: string;
  /** Default: no options. */
  readonly options?: OptionsDefinition<O>;
  /** The list option that takes unnamed values in an expression. */
  readonly positional?: string;
  /** Signals that it always needs; what `create` gives back may add more. */
  readonly signals?: readonly SignalName[];
}

/** @throws KvfoldError KVFOLD_ARGUMENT for a name that no expression can say, or a positional option that is missing */
export function describePlugin<O extends object>(
  kind: PluginKind,
  definition: CommonDefinition<O>,
): PluginInfo {
  const { name, summary, source, positional, signals = [] } = definition;
  checkName(name, kind);
  const options = (definition.options?.info ?? {}) as OptionTable;
  if (positional !== undefined && !Object.hasOwn(options, positional)) {
    throw new KvfoldError("KVFOLD_ARGUMENT", `the positional option ${positional} is not described`, {
      who: name,
    });
  }
  return Object.freeze({
    kind,
    name,
    summary,
    options,
    signals,
    ...(source === undefined ? {} : { source }),
    ...(positional === undefined ? {} : { positional }),
  });
}

/** The options of a definition, or those of one that has none. */
export function optionsOf<O extends object>(definition: CommonDefinition<O>): OptionsDefinition<O> {
  if (definition.options !== undefined) return definition.options;
  const none = {
    version: 1,
    vendor: "kvfold",
    validate: (value: unknown) => ({ value: value as O }),
  } as const;
  // no described option, so that readOptions lets no value through
  return { schema: { "~standard": none }, info: {} as OptionsDefinition<O>["info"] };
}

/** Both lists without repetition, in order. */
export function union<T>(first: readonly T[], second: readonly T[]): readonly T[] {
  return Object.freeze([...new Set([...first, ...second])]);
}

/** Names that every expression can hold bare. */
const NAME = /^[A-Za-z][A-Za-z0-9]*([-_][A-Za-z0-9]+)*$/;
const LONGEST_NAME = 64;

/** @throws KvfoldError KVFOLD_ARGUMENT when an expression could not say the name */
function checkName(name: unknown, kind: PluginKind): void {
  const fine = typeof name === "string" && name.length <= LONGEST_NAME && NAME.test(name);
  if (fine && name !== "true" && name !== "false") return;
  throw new KvfoldError("KVFOLD_ARGUMENT", `${JSON.stringify(name)} cannot be the name of a ${kind}`, {
    hint: `names have letters and digits, joined by - or _, at most ${LONGEST_NAME} in all, and start with a letter`,
  });
}

/** Fills in the real file system and the folder of the process where nothing else is given. */
export function withDefaults(given: Partial<Dependencies> = {}): Dependencies {
  const cwd = given.cwd ?? process.cwd();
  return { cwd, readText: given.readText ?? ((path, limit) => readTextFile(resolve(cwd, path), limit)) };
}

function readTextFile(path: string, limitBytes: number): string {
  try {
    const facts = statSync(path);
    if (!facts.isFile()) throw fileError(path, "is not a file");
    if (facts.size > limitBytes)
      throw fileError(path, `has ${facts.size} bytes, more than the ${limitBytes} allowed`);
    return new TextDecoder("utf-8", { fatal: true }).decode(readFileSync(path));
  } catch (cause) {
    if (cause instanceof KvfoldError) throw cause;
    const missing = (cause as NodeJS.ErrnoException).code === "ENOENT";
    const undecodable = cause instanceof TypeError;
    const what = missing ? "does not exist" : undecodable ? "is not valid UTF-8" : "cannot be read";
    throw fileError(path, what, cause);
  }
}

function fileError(path: string, what: string, cause?: unknown): KvfoldError {
  return new KvfoldError("KVFOLD_FILE", `the file ${JSON.stringify(path)} ${what}`, {
    hint: "give the path of a text file",
    ...(cause === undefined ? {} : { cause }),
  });
}
