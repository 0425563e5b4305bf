/** Names of strategies, scorers and wrappers: who is there, and who was meant. */
import { KvfoldError } from "./errors.js";
import { show } from "./options.js";
import type { PluginInfo, PluginKind } from "./plugin.js";
import type { ScorerPlugin } from "./scorer.js";
import type { StrategyPlugin } from "./strategy.js";
import { nameHint } from "./suggest.js";
import type { WrapperPlugin } from "./wrapper.js";

/** Anything that a registry holds; what the three `define` functions return. */
export type Plugin = StrategyPlugin | ScorerPlugin | WrapperPlugin;

export interface Registry {
  /**
   * Adds a plug-in under its own name and others.
   * @throws KvfoldError KVFOLD_ARGUMENT when a name of that kind is taken, or the value is no plug-in
   */
  add(plugin: Plugin, aliases?: readonly string[]): void;
  /** @throws KvfoldError KVFOLD_UNKNOWN_STRATEGY with the nearest name */
  strategy(name: string): StrategyPlugin;
  /** @throws KvfoldError KVFOLD_UNKNOWN_STRATEGY with the nearest name */
  scorer(name: string): ScorerPlugin;
  /** @throws KvfoldError KVFOLD_UNKNOWN_STRATEGY with the nearest name */
  wrapper(name: string): WrapperPlugin;
  /** All plug-ins, once each: strategies, wrappers, scorers, by name. */
  list(): readonly RegistryEntry[];
}

export interface RegistryEntry extends PluginInfo {
  readonly aliases: readonly string[];
}

const KINDS: readonly PluginKind[] = ["strategy", "wrapper", "scorer"];

/**
 * An empty registry, or one with these plug-ins.
 *
 * @example
 * const registry = createRegistry([mean, pin]);
 * registry.strategy("maen"); // KVFOLD_UNKNOWN_STRATEGY: there is no strategy "maen"; did you mean mean?
 */
export function createRegistry(plugins: readonly Plugin[] = []): Registry {
  const byName = new Map<string, Plugin>();
  const aliasesOf = new Map<Plugin, readonly string[]>();
  const names = (kind: PluginKind): string[] => [...byName.keys()].flatMap((key) => nameOfKind(key, kind));

  const add = (plugin: Plugin, aliases: readonly string[] = []): void => {
    const { kind, name } = definitionOf(plugin);
    const wanted = [name, ...aliases];
    const taken = wanted.find((word, i) => byName.has(`${kind} ${word}`) || wanted.indexOf(word) !== i);
    if (taken !== undefined) {
      throw new KvfoldError("KVFOLD_ARGUMENT", `there is already a ${kind} ${JSON.stringify(taken)}`, {
        who: "registry",
        hint: "names and aliases are unique within strategies, scorers and wrappers",
      });
    }
    for (const word of wanted) byName.set(`${kind} ${word}`, plugin);
    aliasesOf.set(plugin, [...aliases]);
  };
  const get = (kind: PluginKind, name: string): Plugin => {
    const found = byName.get(`${kind} ${name}`);
    if (found !== undefined) return found;
    const other = KINDS.find((candidate) => byName.has(`${candidate} ${name}`));
    throw new KvfoldError("KVFOLD_UNKNOWN_STRATEGY", `there is no ${kind} ${JSON.stringify(name)}`, {
      who: "registry",
      hint: other === undefined ? nameHint(name, names(kind)) : `${name} is a ${other}; ${USE[other]}`,
    });
  };
  const entry = (plugin: Plugin): RegistryEntry => ({
    ...plugin.definition,
    aliases: aliasesOf.get(plugin)!,
  });

  for (const plugin of plugins) add(plugin);
  return {
    add,
    strategy: (name) => get("strategy", name) as StrategyPlugin,
    scorer: (name) => get("scorer", name) as ScorerPlugin,
    wrapper: (name) => get("wrapper", name) as WrapperPlugin,
    list: () => [...aliasesOf.keys()].map(entry).sort(byKindAndName),
  };
}

// ---------------------------------------------------------------------------------------------------------------

/** How a plug-in of the other kind is used. */
const USE: Readonly<Record<PluginKind, string>> = {
  strategy: "it stands last: wrapper > strategy",
  wrapper: "it stands before a strategy: wrapper > strategy",
  scorer: "it is an option of a strategy: evict(by=...)",
};

function nameOfKind(key: string, kind: PluginKind): string[] {
  return key.startsWith(`${kind} `) ? [key.slice(kind.length + 1)] : [];
}

function byKindAndName(a: RegistryEntry, b: RegistryEntry): number {
  const kinds = KINDS.indexOf(a.kind) - KINDS.indexOf(b.kind);
  if (kinds !== 0) return kinds;
  return a.name < b.name ? -1 : 1;
}

function definitionOf(plugin: unknown): PluginInfo {
  if (isPlugin(plugin)) return plugin.definition;
  throw new KvfoldError("KVFOLD_ARGUMENT", `${show(plugin)} is no plug-in`, {
    who: "registry",
    hint: "pass what defineStrategy, defineScorer or defineWrapper returned, uncalled",
  });
}

/** True for what a `define` function returned, whichever copy of this package it came from. */
export function isPlugin(value: unknown): value is Plugin {
  if ((typeof value !== "object" && typeof value !== "function") || value === null) return false;
  const { definition, make } = value as Partial<Plugin>;
  return (
    typeof make === "function" &&
    KINDS.includes(definition?.kind as PluginKind) &&
    typeof definition?.name === "string"
  );
}
