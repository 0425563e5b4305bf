/** Prints what `kvfold bench decode` measured: a JSON object, or a table, for each strategy and ratio. */
import { formatMeasure, formatWhole } from "../ui/numbers.js";
import type { Streams } from "../ui/streams.js";
import { styleFor } from "../ui/style.js";
import { type Column, renderTable, wrap } from "../ui/table.js";
import type { DecodeResult } from "./decode-run.js";
import type { DecodeSettings } from "./decode-settings.js";

export function printDecode(settings: DecodeSettings, result: DecodeResult, streams: Streams): void {
  if (settings.json) {
    streams.out(JSON.stringify(asJson(settings, result)));
    return;
  }
  const print = (text: string): void => {
    for (const line of wrap(text, streams.width)) streams.out(line);
  };
  print(
    `${settings.model.name}: ${result.strategy} at ${result.ratio}x, ${formatWhole(settings.tokens)} tokens, ` +
      `cache ${settings.cacheType}, medians of ${settings.runs} interleaved runs`,
  );
  streams.out("");
  streams.out(renderTable(COLUMNS, result.rows, streams.width, styleFor(streams)));
  streams.out("");
  for (const note of notes(result)) print(note);
}

// ---------------------------------------------------------------------------------------------------------------

function asJson(settings: DecodeSettings, { strategy, ratio, ...result }: DecodeResult): object {
  return {
    command: "bench-decode",
    model: settings.model.name,
    strategy,
    ratio,
    tokens: settings.tokens,
    ...result,
    runs: settings.runs,
    threads: settings.threads ?? null,
    cacheType: settings.cacheType,
    flashAttention: settings.flashAttention,
    seed: settings.seed,
  };
}

type Row = DecodeResult["rows"][number];

const COLUMNS: readonly Column<Row>[] = [
  { title: "cache", cell: (row) => row.cache },
  { title: "cells", align: "right", cell: (row) => formatWhole(row.cells) },
  { title: "tokens/s", align: "right", cell: (row) => formatMeasure(row.tokensPerSecond) },
  {
    title: "slowest – fastest",
    align: "right",
    cell: (row) => `${formatMeasure(row.minimum)} – ${formatMeasure(row.maximum)}`,
  },
];

function notes(result: DecodeResult): string[] {
  const { planMs, foldMs, prefillMs, captureMs } = result;
  return [
    `folded / native: ${formatMeasure(result.foldedToNative)}, folded / full: ${formatMeasure(result.foldedToFull)}`,
    `plan ${formatMeasure(planMs)} ms, fold ${formatMeasure(foldMs)} ms: plan plus fold are ` +
      `${formatMeasure(100 * result.planAndFoldShare)} % of the prefill of ${formatMeasure(prefillMs)} ms`,
    captureMs === 0
      ? "the strategy looks at nothing that has to be captured while the prompt is read"
      : `capturing what the strategy looks at takes ${formatMeasure(captureMs)} ms more`,
  ];
}
