/** The demonstration: the strategies of llama.cpp pull request 5719, eviction, and values that are solved anew. */
import { resolveStrategy } from "@kvfold/core";
import type { PasskeyRow, PasskeyRun } from "@kvfold/eval";
import { createDefaultRegistry, defaultStrategy } from "@kvfold/strategies";
import { formatBytes, formatWhole } from "../ui/numbers.js";
import type { PasskeyResult } from "./measure.js";
import type { PasskeySettings } from "./settings.js";

interface DemoLine {
  readonly expressions: readonly string[];
  readonly ratios: readonly number[];
  /** What the strategies do, in plain words. */
  readonly words: string;
}

const RATIO = 4;
const HARDER_RATIO = 8;

const LINES: readonly DemoLine[] = [
  {
    // merging by position, as llama.cpp pull request 5719 tried it
    expressions: ["sum", "mean", "head-pick"],
    ratios: [RATIO],
    words: "neighbouring cells become one, whatever they hold.",
  },
  {
    expressions: ["evict(by=keydiff,per=shared)"],
    ratios: [RATIO],
    words: "nothing is merged; all heads keep the same cells, the most unusual ones.",
  },
  {
    expressions: ["evict(by=keydiff,per=head)"],
    ratios: [RATIO, HARDER_RATIO],
    words: "every head keeps its own most unusual cells.",
  },
  {
    expressions: ["refit"],
    ratios: [RATIO, HARDER_RATIO],
    words:
      "every head keeps what stands out and what the prompt's own queries attend to; values are solved anew.",
  },
  {
    expressions: ["refit(queries=repeat)"],
    ratios: [RATIO, HARDER_RATIO],
    words: "the same, but a second reading of the prompt says what matters.",
  },
];

/**
 * The rows of the demonstration, in order; strategies that are not there are left out.
 * @param folding whether the prompt is folded while it is read, so that it cannot be read a second time
 */
export async function demoRuns(folding: boolean): Promise<PasskeyRun[]> {
  const registry = createDefaultRegistry();
  const names = new Set(registry.list().map((entry) => entry.name));
  const lines = LINES.flatMap(({ expressions, ratios }) => expressions.map((text) => ({ text, ratios })));
  const known = lines.filter(({ text }) => names.has(text.replace(/\(.*/, "")));
  const runs = await Promise.all(
    known.map(async ({ text, ratios }) => {
      const strategy = await resolveStrategy(text, registry, { cwd: process.cwd() });
      return ratios.map((ratio) => ({ strategy, ratio }));
    }),
  );
  return runs.flat().filter(({ strategy }) => !(folding && strategy.signals.includes("repeat")));
}

/** What the rows mean, in plain words. Every figure comes from the rows. */
export function explainDemo(settings: PasskeySettings, { rows, prefillMs }: PasskeyResult): string[] {
  const [first] = rows as [PasskeyRow];
  const usual = defaultStrategy().expression;
  const best = rows.find((row) => row.strategy === usual && row.ratio === RATIO);
  const cells = formatWhole(first.cellsBefore);
  const seconds = (prefillMs / 1000).toFixed(1);
  return [
    `The model reads ${cells} tokens with a key hidden in them (${seconds} s), its cache is folded, and only then it is asked for the key. Right answers with the full cache: ${first.full} of ${settings.trials}. After the fold:`,
    "",
    ...explainLines(rows, settings.trials, usual),
    ...(best === undefined
      ? []
      : [
          "",
          `At ${best.ratio}x the default frees ${formatBytes(best.bytesFreed)} of the cache, and decoding is ${(best.decodeAfter / best.decodeBefore).toFixed(1)} times as fast.`,
        ]),
  ];
}

// ---------------------------------------------------------------------------------------------------------------

/** One item for each line of the demonstration that has rows. */
function explainLines(rows: readonly PasskeyRow[], trials: number, usual: string): string[] {
  let next = 0;
  const items: string[] = [];
  for (const { expressions, ratios, words } of LINES) {
    const found: string[] = [];
    let isDefault = false;
    for (const text of expressions) {
      const own = rows.slice(next, next + ratios.length);
      if (!own[0]?.strategy.startsWith(text.replace(/\).*/, ""))) continue;
      next += own.length;
      isDefault ||= own[0].strategy === usual;
      const scores = own.map(
        (row) => `${row.folded} of ${trials}${own.length > 1 ? ` at ${row.ratio}x` : ""}`,
      );
      found.push(`${own[0].strategy} ${scores.join(" and ")}`);
    }
    if (found.length === 0) continue;
    items.push(`- ${found.join(", ")}${isDefault ? ", the default" : ""}: ${words}`);
  }
  return items;
}
