/** Prints what `kvfold passkey` measured: one JSON object, or a table with a sentence above and below. */
import type { PasskeyRow } from "@kvfold/eval";
import { formatBytes, formatMeasure, formatWhole, plural } from "../ui/numbers.js";
import { printable } from "../ui/printable.js";
import type { Streams } from "../ui/streams.js";
import { type Style, styleFor } from "../ui/style.js";
import { type Column, renderTable, wrap, wrapNote } from "../ui/table.js";
import { explainDemo } from "./demo.js";
import type { PasskeyResult } from "./measure.js";
import type { PasskeySettings } from "./settings.js";

/** Longer lines are hard to read. */
const READABLE = 100;

export function printPasskey(settings: PasskeySettings, result: PasskeyResult, streams: Streams): void {
  if (settings.json === true) {
    streams.out(JSON.stringify(asJson(settings, result)));
    return;
  }
  const style = styleFor(streams);
  for (const line of wrap(headline(settings), streams.width)) streams.out(line);
  streams.out("");
  streams.out(renderTable(columns(settings, style), result.rows, streams.width, style));
  const notes = [
    ...foldNotes(result.rows),
    ...captureNote(settings, result),
    ...(settings.demo === true ? explainDemo(settings, result) : lostKeys(result.rows)),
  ];
  if (notes.length > 0) streams.out("");
  for (const note of notes)
    for (const line of wrapNote(note, Math.min(streams.width, READABLE))) streams.out(line);
  if (settings.savePlan !== undefined) streams.err(`saved the plan of the first trial: ${settings.savePlan}`);
}

// ---------------------------------------------------------------------------------------------------------------

function asJson(settings: PasskeySettings, result: PasskeyResult): object {
  return {
    command: "passkey",
    model: settings.model.name,
    tokens: settings.tokens,
    key: settings.key,
    haystack: settings.haystack.name,
    trials: settings.trials,
    rows: result.rows,
    depths: settings.depths,
    seed: settings.seed,
    foldEvery: settings.foldEvery ?? null,
    cacheType: settings.cacheType,
    flashAttention: settings.flashAttention,
    prefillMs: result.prefillMs,
    captureMs: result.captureMs,
    signals: signalsOf(settings),
  };
}

function headline(settings: PasskeySettings): string {
  const kind = settings.key === "digits" ? "a number" : "three words";
  const text = settings.haystack.name === "junk" ? "junk" : settings.haystack.name;
  const when =
    settings.foldEvery === undefined
      ? "folded once, after reading"
      : `folded after every ${formatWhole(settings.foldEvery)} tokens read`;
  return (
    `${settings.model.name}: ${kind} in ${formatWhole(settings.tokens)} tokens of ${text}, ` +
    `${plural(settings.trials, "trial")}, cache ${settings.cacheType}, ${when}`
  );
}

function columns(settings: PasskeySettings, style: Style): Column<PasskeyRow>[] {
  const score = (right: number): string => `${right}/${settings.trials}`;
  const { good, bad } = style;
  return [
    { title: "strategy", cell: (row) => row.strategy },
    { title: "ratio", align: "right", cell: (row) => `${row.ratio}x` },
    { title: "cells", align: "right", cell: (row) => `${row.cellsBefore} → ${row.cellsAfter}` },
    { title: "freed", align: "right", cell: (row) => formatBytes(row.bytesFreed) },
    { title: "full\nright", align: "right", cell: (row) => score(row.full) },
    {
      title: "folded\nright",
      align: "right",
      cell: (row) => (row.folded === row.full ? good : bad)(score(row.folded)),
    },
    { title: "plan\nms", align: "right", cell: (row) => formatMeasure(row.planMs) },
    { title: "fold\nms", align: "right", cell: (row) => formatMeasure(row.foldMs) },
    {
      title: "decode\ntokens/s",
      align: "right",
      cell: (row) => `${formatMeasure(row.decodeBefore)} → ${formatMeasure(row.decodeAfter)}`,
    },
  ];
}

const signalsOf = ({ runs }: PasskeySettings): string[] => [
  ...new Set(runs.flatMap((run) => run.strategy.signals)),
];

function captureNote(settings: PasskeySettings, { prefillMs, captureMs }: PasskeyResult): string[] {
  if (captureMs === null) return [];
  const signals = signalsOf(settings).join(", ");
  const reading = `reading a prompt: ${formatWhole(prefillMs)} ms`;
  // one reading with signals and one without: noise may be larger than what a signal costs
  if (captureMs <= 0) return [`${reading}, no measurable part of it to capture ${signals}`];
  return [`${reading}, of which ${formatWhole(captureMs)} ms to capture ${signals}`];
}

function foldNotes(rows: readonly PasskeyRow[]): string[] {
  return rows.flatMap((row) => row.notes.map((note) => `${row.strategy} at ${row.ratio}x: ${note}`));
}

/** What was answered instead of the keys that a fold lost, for a few. */
function lostKeys(rows: readonly PasskeyRow[]): string[] {
  const SHOWN = 3;
  return rows
    .filter((row) => row.lost.length > 0)
    .map((row) => {
      const some = row.lost
        .slice(0, SHOWN)
        .map(({ depth, key, answer }) => `${key} at ${depth} % → "${printable(answer.trim().slice(0, 24))}"`);
      const more = row.lost.length > SHOWN ? `, and ${row.lost.length - SHOWN} more` : "";
      return `lost by ${row.strategy} at ${row.ratio}x: ${some.join(", ")}${more}`;
    });
}
