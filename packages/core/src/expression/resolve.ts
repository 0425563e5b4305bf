/** Turns an expression, or the path of a module, into a strategy. */
import { KvfoldError } from "../errors.js";
import { isModulePath, loadStrategy, loadWrapper } from "../load-module.js";
import type { OptionInfo } from "../options.js";
import { type Dependencies, type PluginInfo, withDefaults } from "../plugin.js";
import type { Registry } from "../registry.js";
import type { Scorer } from "../scorer.js";
import type { MergeStrategy } from "../strategy.js";
import type { Argument, Call, ExpressionValue } from "./ast.js";
import { parseExpression } from "./parse.js";
import { isList } from "./print.js";

/**
 * Reads `wrapper(...) > strategy(...)`. A stage whose name contains a slash or ends in .js, .mjs or .ts is a module
 * (see `loadStrategy`); its path may be the whole text, or stand anywhere in the expression, quoted if need be.
 * The text itself is never run as code.
 *
 * @throws KvfoldError KVFOLD_EXPRESSION, KVFOLD_UNKNOWN_STRATEGY, KVFOLD_UNKNOWN_OPTION, KVFOLD_ARGUMENT,
 * KVFOLD_MODULE, KVFOLD_FILE
 * @example
 * await resolveStrategy("pin(sinks=8) > mean", registry);
 */
export async function resolveStrategy(
  text: string,
  registry: Registry,
  given: Partial<Dependencies> = {},
): Promise<MergeStrategy> {
  if (typeof text !== "string") {
    throw new KvfoldError("KVFOLD_ARGUMENT", "a strategy is named by a string", { who: "expression" });
  }
  const dependencies = withDefaults(given);
  const path = text.trim();
  if (isBarePath(path)) return loadStrategy(path, undefined, dependencies);
  const { wrappers, strategy } = parseExpression(text);
  const place: Place = { registry, dependencies };
  let made = await makeStrategy(strategy, place);
  for (const call of wrappers.toReversed()) {
    const wrapper = isModulePath(call.name)
      ? await loadWrapper(call.name, dependencies)
      : registry.wrapper(call.name);
    made = wrapper.make(made, readArguments(call, wrapper.definition, place), dependencies);
  }
  return made;
}

/**
 * The scorer of an expression: a name, or a call such as `max(keydiff,surprise)`.
 * @throws KvfoldError as `resolveStrategy`
 */
export function resolveScorer(text: string, registry: Registry, given: Partial<Dependencies> = {}): Scorer {
  const { wrappers, strategy } = parseExpression(text);
  if (wrappers.length > 0) {
    throw new KvfoldError("KVFOLD_EXPRESSION", "a scorer has no wrappers", { who: "expression" });
  }
  return makeScorer(strategy, { registry, dependencies: withDefaults(given) });
}

// ---------------------------------------------------------------------------------------------------------------

interface Place {
  readonly registry: Registry;
  readonly dependencies: Dependencies;
}

/** A path may hold spaces and other characters that an expression would have to quote. */
const isBarePath = (text: string): boolean => isModulePath(text) && !/[()>"'=]/.test(text);

async function makeStrategy(call: Call, place: Place): Promise<MergeStrategy> {
  if (isModulePath(call.name)) {
    return loadStrategy(call.name, readArguments(call, null, place), place.dependencies);
  }
  const plugin = place.registry.strategy(call.name);
  return plugin.make(readArguments(call, plugin.definition, place), place.dependencies);
}

function makeScorer(call: Call, place: Place): Scorer {
  const plugin = place.registry.scorer(call.name);
  return plugin.make(readArguments(call, plugin.definition, place), place.dependencies);
}

/** @param definition null for a module, whose options are not known before it is loaded: plain values only */
function readArguments(call: Call, definition: PluginInfo | null, place: Place): Record<string, unknown> {
  const unnamed = call.arguments.filter((argument) => argument.name === null);
  const named = call.arguments.filter((argument) => argument.name !== null);
  const entries = named.map(
    ({ name, value }) => [name!, readValue(name!, value, definition, place)] as const,
  );
  if (unnamed.length === 0) return Object.fromEntries(entries);
  const positional = definition?.positional;
  if (positional === undefined) throw unnamedError(call, unnamed[0]!, definition);
  if (named.some((argument) => argument.name === positional)) {
    throw new KvfoldError("KVFOLD_ARGUMENT", `option ${positional} is given with and without its name`, {
      who: call.name,
    });
  }
  const list = readValue(
    positional,
    unnamed.map((argument) => argument.value),
    definition,
    place,
  );
  return Object.fromEntries([...entries, [positional, list]]);
}

function unnamedError(call: Call, { value }: Argument, definition: PluginInfo | null): KvfoldError {
  const names = Object.keys(definition?.options ?? {});
  const text = typeof value === "object" ? "a value" : JSON.stringify(value);
  return new KvfoldError("KVFOLD_UNKNOWN_OPTION", `${text} has no option name`, {
    who: call.name,
    hint: names.length === 0 ? "write name=value" : `write ${names[0]}=value; there are: ${names.join(", ")}`,
  });
}

function readValue(
  name: string,
  value: ExpressionValue,
  definition: PluginInfo | null,
  place: Place,
): unknown {
  const options = definition?.options ?? {};
  const info: OptionInfo | undefined = Object.hasOwn(options, name) ? options[name] : undefined;
  if (info?.kind === "scorer") return readScorer(name, value, definition!, place);
  if (info?.kind === "scorers") {
    return (isList(value) ? value : [value]).map((item) => readScorer(name, item, definition!, place));
  }
  return plain(name, value, definition?.name ?? "module");
}

function readScorer(name: string, value: ExpressionValue, definition: PluginInfo, place: Place): Scorer {
  if (typeof value === "string") return makeScorer({ name: value, arguments: [] }, place);
  if (typeof value === "object" && !isList(value)) return makeScorer(value, place);
  throw new KvfoldError("KVFOLD_ARGUMENT", `option ${name} is ${JSON.stringify(value)}, not a scorer`, {
    who: definition.name,
    hint: "name a scorer, as keydiff, or call one, as max(keydiff,surprise)",
  });
}

/** Numbers, strings, booleans and lists mean themselves. */
function plain(name: string, value: ExpressionValue, who: string): unknown {
  if (typeof value !== "object") return value;
  if (isList(value)) return value.map((item) => plain(name, item, who));
  throw new KvfoldError(
    "KVFOLD_ARGUMENT",
    `option ${name} is the call ${value.name}(...), but takes no scorer`,
    { who },
  );
}
