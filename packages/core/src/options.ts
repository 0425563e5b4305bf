/** Options of plug-ins: described, checked by a Standard Schema, and written back as an expression. */
import { KvfoldError } from "./errors.js";
import { isBareWord, printNumber, printString } from "./expression/print.js";
import type { Scorer } from "./scorer.js";
import type { StandardSchemaIssue, StandardSchemaV1 } from "./standard-schema.js";
import { nameHint } from "./suggest.js";

/** What an option can hold, in code and in an expression. */
export type OptionValue = number | string | boolean | Scorer | readonly OptionValue[];

/** How an option is shown, and what it is when nobody sets it. */
export interface OptionInfo {
  readonly default: OptionValue;
  readonly description: string;
  /** `cells`, `tokens`, `ratio`. */
  readonly unit?: string;
  /** Set where the value is a scorer or a list of scorers, so that an expression can name them. */
  readonly kind?: "scorer" | "scorers";
  /** Written into every expression, default or not, because it names the method. */
  readonly always?: boolean;
}

/** The options of a definition: one schema for the whole object, one description for each name. */
export interface OptionsDefinition<O extends object> {
  readonly schema: StandardSchemaV1<unknown, O>;
  readonly info: { readonly [Name in keyof O]-?: OptionInfo };
}

export type OptionTable = Readonly<Record<string, OptionInfo>>;

/** Options that went through the schema, and the arguments that an expression needs to say the same. */
export interface ReadOptions<O> {
  readonly options: O;
  /** `sinks=8,recent=64`, without brackets; empty when all are defaults. */
  readonly printed: string;
}

/**
 * Fills in defaults, checks names and values.
 * @throws KvfoldError KVFOLD_UNKNOWN_OPTION, KVFOLD_ARGUMENT
 */
export function readOptions<O extends object>(
  who: string,
  definition: OptionsDefinition<O>,
  given: unknown,
  positional?: string,
): ReadOptions<O> {
  const info = definition.info as OptionTable;
  const input = withDefaultValues(who, info, given);
  const result = definition.schema["~standard"].validate(input);
  if (result instanceof Promise) {
    result.catch(() => {});
    throw new KvfoldError("KVFOLD_ARGUMENT", "the options have an asynchronous schema", {
      who,
      hint: "use a schema that answers at once",
    });
  }
  if (result.issues !== undefined) throw issueError(who, info, input, result.issues);
  return { options: result.value, printed: printOptions(who, info, input, positional) };
}

// ---------------------------------------------------------------------------------------------------------------

function withDefaultValues(who: string, info: OptionTable, given: unknown): Record<string, unknown> {
  if (given !== undefined && (typeof given !== "object" || given === null || Array.isArray(given))) {
    throw new KvfoldError("KVFOLD_ARGUMENT", `options are ${show(given)}, not an object`, { who });
  }
  const names = Object.keys(info);
  const input = Object.fromEntries(names.map((name) => [name, info[name]!.default as unknown]));
  for (const [name, value] of Object.entries(given ?? {})) {
    if (!Object.hasOwn(info, name)) {
      const hint = names.length === 0 ? "it has no options" : nameHint(name, names);
      throw new KvfoldError("KVFOLD_UNKNOWN_OPTION", `there is no option ${JSON.stringify(name)}`, {
        who,
        hint,
      });
    }
    if (value !== undefined) input[name] = value;
  }
  return input;
}

function issueError(
  who: string,
  info: OptionTable,
  input: Record<string, unknown>,
  issues: readonly StandardSchemaIssue[],
): KvfoldError {
  const issue = issues[0];
  const step = issue?.path?.[0];
  const name = String(typeof step === "object" ? step.key : (step ?? ""));
  const message = issue?.message ?? "the schema refuses it";
  if (!Object.hasOwn(info, name))
    return new KvfoldError("KVFOLD_ARGUMENT", `the options are wrong: ${message}`, { who });
  const { description, unit } = info[name]!;
  return new KvfoldError("KVFOLD_ARGUMENT", `option ${name} is ${show(input[name])}: ${message}`, {
    who,
    hint: `${name}: ${description}${unit === undefined ? "" : ` [${unit}]`}`,
  });
}

function printOptions(
  who: string,
  info: OptionTable,
  input: Record<string, unknown>,
  positional?: string,
): string {
  const named = Object.entries(info).flatMap(([name, { default: usual, always }]) => {
    const text = printOption(who, name, input[name]);
    if (always !== true && text === printOption(who, name, usual)) return [];
    if (name !== positional) return [`${name}=${text}`];
    return Array.isArray(input[name]) ? input[name].map((item) => printOption(who, name, item)) : [];
  });
  return named.join(",");
}

function printOption(who: string, name: string, value: unknown): string {
  if (typeof value === "number" && Number.isFinite(value)) return printNumber(value);
  if (typeof value === "boolean") return String(value);
  if (typeof value === "string") return isBareWord(value) ? value : printString(value);
  if (Array.isArray(value)) return `[${value.map((item) => printOption(who, name, item)).join(",")}]`;
  const expression = (value as Partial<Scorer> | null)?.expression;
  if (typeof expression === "string") return expression;
  throw new KvfoldError("KVFOLD_ARGUMENT", `option ${name} is ${show(value)}, which no expression can say`, {
    who,
    hint: "use finite numbers, strings, booleans, scorers and lists of them",
  });
}

/** A value in an error message: short, and never a surprise. */
export function show(value: unknown): string {
  if (typeof value === "function") return "a function";
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "number" || value === undefined) return String(value);
  let text: string;
  try {
    text = JSON.stringify(value) ?? typeof value;
  } catch {
    text = `an ${typeof value}`;
  }
  return text.length > 80 ? `${text.slice(0, 79)}…` : text;
}
