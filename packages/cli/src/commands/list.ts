/** `kvfold list`: strategies, wrappers and scorers with their options, defaults and sources. */
import type { OptionInfo, RegistryEntry } from "@kvfold/core";
import { createDefaultRegistry, defaultStrategy } from "@kvfold/strategies";
import { Command } from "commander";
import type { CommandContext } from "../run.js";
import type { Streams } from "../ui/streams.js";
import { type Style, styleFor } from "../ui/style.js";
import { wrap } from "../ui/table.js";

const HEADINGS = {
  strategy: "Strategies: stand last in an expression",
  wrapper: "Wrappers: stand before a strategy, wrapper > strategy",
  scorer: "Scorers: options of a strategy, evict(by=...)",
} as const;

const EXAMPLES = `
Examples:
  kvfold list
  kvfold list --json`;

export function listCommand({ streams }: CommandContext): Command {
  return new Command("list")
    .description("List strategies, wrappers and scorers with their options")
    .option("--json", "print one JSON object")
    .option("--verbose", "print stack traces of errors")
    .addHelpText("after", EXAMPLES)
    .action((flags: { json?: true }) => {
      const entries = createDefaultRegistry().list();
      const usual = defaultStrategy().expression;
      if (flags.json === true) streams.out(JSON.stringify(asJson(entries, usual)));
      else printList(entries, usual, streams);
    });
}

// ---------------------------------------------------------------------------------------------------------------

function asJson(entries: readonly RegistryEntry[], usual: string): object {
  const plugins = entries.map((entry) => ({
    kind: entry.kind,
    name: entry.name,
    aliases: entry.aliases,
    summary: entry.summary,
    source: entry.source ?? null,
    signals: entry.signals,
    options: Object.entries(entry.options).map(([name, option]) => ({
      name,
      default: printValue(option.default),
      unit: option.unit ?? null,
      description: option.description,
    })),
  }));
  return { command: "list", default: usual, plugins };
}

function printList(entries: readonly RegistryEntry[], usual: string, streams: Streams): void {
  const style = styleFor(streams);
  for (const kind of ["strategy", "wrapper", "scorer"] as const) {
    streams.out(style.strong(HEADINGS[kind]));
    for (const entry of entries.filter((each) => each.kind === kind)) {
      for (const line of describe(entry, streams.width, style)) streams.out(line);
    }
    streams.out("");
  }
  streams.out(`The default strategy: ${usual}`);
}

function describe(entry: RegistryEntry, width: number, style: Style): string[] {
  const source = entry.source === undefined ? "" : ` [${entry.source}]`;
  const aliases = entry.aliases.length === 0 ? "" : ` (also ${entry.aliases.join(", ")})`;
  return [
    "",
    `  ${style.strong(entry.name)}${aliases}`,
    ...indent(`${entry.summary}${source}`, 4, width),
    ...Object.entries(entry.options).flatMap(([name, option]) =>
      indent(`${name}=${printValue(option.default)}  ${option.description}${unitOf(option)}`, 6, width),
    ),
  ];
}

function unitOf({ unit }: OptionInfo): string {
  return unit === undefined ? "" : ` [${unit}]`;
}

function indent(text: string, spaces: number, width: number): string[] {
  const [first, ...others] = wrap(text, width - spaces - 2);
  return [`${" ".repeat(spaces)}${first}`, ...others.map((line) => `${" ".repeat(spaces + 2)}${line}`)];
}

/** A default as an expression would say it. */
function printValue(value: OptionInfo["default"]): string {
  if (Array.isArray(value)) return `[${value.map(printValue).join(",")}]`;
  if (typeof value === "object" && "expression" in value) return value.expression;
  return String(value);
}
