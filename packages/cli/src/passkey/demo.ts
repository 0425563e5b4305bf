/** The demonstration: the strategies of llama.cpp pull request 5719, shared eviction, and the default. */
import { resolveStrategy } from "@kvfold/core";
import type { PasskeyRow, PasskeyRun } from "@kvfold/eval";
import { createDefaultRegistry, defaultStrategy } from "@kvfold/strategies";
import { formatBytes, formatWhole } from "../ui/numbers.js";
import type { PasskeyResult } from "./measure.js";
import type { PasskeySettings } from "./settings.js";

/** Merging by position, as llama.cpp pull request 5719 tried it. */
const MERGING = ["sum", "mean", "head-pick"];
/** Selection without merging: the same cells in all heads. */
const SHARED_EVICTION = "evict(by=keydiff,per=shared)";
const DEMO_RATIO = 4;
const HARDER_RATIO = 8;

/** The rows of the demonstration, in order. */
export async function demoRuns(): Promise<PasskeyRun[]> {
  const registry = createDefaultRegistry();
  const others = await Promise.all(
    [...MERGING, SHARED_EVICTION].map((text) => resolveStrategy(text, registry, { cwd: process.cwd() })),
  );
  return [
    ...others.map((strategy) => ({ strategy, ratio: DEMO_RATIO })),
    { strategy: defaultStrategy(), ratio: DEMO_RATIO },
    { strategy: defaultStrategy(), ratio: HARDER_RATIO },
  ];
}

/** What the rows mean, in plain words. Every figure comes from the rows. */
export function explainDemo(settings: PasskeySettings, { rows, prefillMs }: PasskeyResult): string[] {
  const merging = rows.slice(0, MERGING.length);
  const [shared, ours, harder] = rows.slice(MERGING.length) as [PasskeyRow, PasskeyRow, PasskeyRow];
  const of = (row: PasskeyRow): string => `${row.folded} of ${settings.trials}`;
  return [
    `The model reads ${formatWhole(ours.cellsBefore)} tokens with a key hidden in them (${(prefillMs / 1000).toFixed(1)} s), its cache is folded, and only then it is asked for the key. Right answers with the full cache: ${ours.full} of ${settings.trials}. After the fold:`,
    "",
    `- ${merging.map((row) => `${row.strategy} ${of(row)}`).join(", ")}: neighbouring cells become one, whatever they hold.`,
    `- ${shared.strategy} ${of(shared)}: nothing is merged; all heads keep the same cells, the most unusual ones.`,
    `- ${ours.strategy} ${of(ours)} at ${ours.ratio}x and ${of(harder)} at ${harder.ratio}x: the default.`,
    "",
    `At ${ours.ratio}x the default frees ${formatBytes(ours.bytesFreed)} of the cache, and decoding is ${(ours.decodeAfter / ours.decodeBefore).toFixed(1)} times as fast.`,
  ];
}
