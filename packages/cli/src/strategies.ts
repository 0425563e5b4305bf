/** Makes strategies out of the expressions of a command line, and tells them apart for result files. */
import { createHash } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { resolve } from "node:path";
import {
  KvfoldError,
  type MergeStrategy,
  type OptionInfo,
  type Registry,
  resolveStrategy,
} from "@kvfold/core";
import type { GridRun } from "@kvfold/eval";
import { createDefaultRegistry, defaultStrategy } from "@kvfold/strategies";

export interface StrategyFlags {
  /** Expressions or module paths; default: the default strategy. */
  readonly strategy?: readonly string[];
  readonly ratio?: readonly number[];
}

const DEFAULT_RATIO = 4;
/** Modules and lists are small; a larger file is told apart by its size. */
const LARGEST_HASHED = 16 * 2 ** 20;

/**
 * Every strategy at every ratio, each once.
 * @throws KvfoldError with a code of the caller's words
 */
export async function chosenRuns(flags: StrategyFlags): Promise<GridRun[]> {
  const registry = createDefaultRegistry();
  const cwd = process.cwd();
  const strategies = await Promise.all(
    (flags.strategy ?? [defaultStrategy().expression]).map(async (text) => {
      const strategy = await resolveStrategy(text, registry, { cwd });
      return { strategy, identity: strategyIdentity(text, strategy, registry, cwd) };
    }),
  );
  const runs = strategies.flatMap((each) =>
    (flags.ratio ?? [DEFAULT_RATIO]).map((ratio) => ({ ...each, ratio })),
  );
  const first = (run: GridRun): number =>
    runs.findIndex((other) => other.identity === run.identity && other.ratio === run.ratio);
  return runs.filter((run, index) => first(run) === index);
}

/** @throws KvfoldError KVFOLD_RATIO when a ratio leaves no cell */
export function refuseRatios(ratios: readonly number[] | undefined, tokens: number): void {
  const large = ratios?.find((ratio) => ratio > tokens);
  if (large === undefined) return;
  throw new KvfoldError("KVFOLD_RATIO", `a ratio of ${large} leaves no cell of ${tokens} tokens`, {
    hint: "ask for a smaller ratio; 2 to 8 are usual",
  });
}

/**
 * Names a strategy with what stands behind its expression: the defaults of all plug-ins in it, and the content of the
 * files that it names. So a result is not taken for that of another default or of an older module.
 */
export function strategyIdentity(
  text: string,
  { expression }: MergeStrategy,
  registry: Registry,
  cwd: string,
): string {
  const words = [...new Set(`${text} ${expression}`.match(/"[^"]*"|[^\s"(),=>[\]]+/g) ?? [])];
  const defaults = registry
    .list()
    .filter(({ name, aliases }) => [name, ...aliases].some((word) => words.includes(word)))
    .map(({ kind, name, options }) => [
      kind,
      name,
      Object.entries(options).map(([key, one]) => [key, plain(one)]),
    ]);
  const files = words.flatMap((word) => fileHash(resolve(cwd, word.replaceAll('"', ""))) ?? []);
  const behind = createHash("sha256")
    .update(JSON.stringify([defaults, files]))
    .digest("hex");
  return `${expression} ${behind.slice(0, 16)}`;
}

// ---------------------------------------------------------------------------------------------------------------

function plain({ default: value }: OptionInfo): string {
  return JSON.stringify(value, (_, part: unknown) =>
    typeof part === "object" && part !== null && "expression" in part ? part.expression : part,
  );
}

/** undefined: the word names no file. */
function fileHash(path: string): string | undefined {
  const facts = statSync(path, { throwIfNoEntry: false });
  if (facts?.isFile() !== true) return undefined;
  if (facts.size > LARGEST_HASHED) return String(facts.size);
  return createHash("sha256").update(readFileSync(path)).digest("hex");
}
