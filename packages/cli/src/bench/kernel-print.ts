/** Prints what `kvfold bench kernels` measured: one JSON object, or a table for each operation. */
import { formatMeasure, formatWhole, plural } from "../ui/numbers.js";
import type { Streams } from "../ui/streams.js";
import { styleFor } from "../ui/style.js";
import { type Column, renderTable, wrap } from "../ui/table.js";
import type { KernelReport, KernelRow } from "./kernel-run.js";
import type { KernelSettings } from "./kernel-settings.js";

export function printKernels(settings: KernelSettings, report: KernelReport, streams: Streams): void {
  if (settings.json) {
    streams.out(JSON.stringify(asJson(settings, report)));
    return;
  }
  const style = styleFor(streams);
  for (const line of wrap(headline(settings, report), streams.width)) streams.out(line);
  for (const op of new Set(report.rows.map((row) => row.op))) {
    const rows = report.rows.filter((row) => row.op === op);
    streams.out("");
    streams.out(renderTable(columns(rows[0]!), rows, streams.width, style));
  }
  if (report.skipped.length > 0) streams.out("");
  for (const { op, backend, type, shape, cells, reason } of report.skipped) {
    const text = `skipped: ${op}, ${backend}, ${type}, ${shape}, ${formatWhole(cells)} cells: ${reason}`;
    for (const line of wrap(text, streams.width)) streams.out(line);
  }
}

// ---------------------------------------------------------------------------------------------------------------

function asJson(settings: KernelSettings, report: KernelReport): object {
  return {
    command: "bench-kernels",
    copyGBs: report.copyGBs,
    peakGFLOPs: report.peakGFLOPs,
    rows: report.rows,
    skipped: report.skipped,
    readGBs: report.readGBs,
    threads: settings.threads,
    runs: settings.runs,
    foldRatio: settings.ratio,
    queryRows: settings.queryRows,
    complete: report.interrupted === undefined,
  };
}

function headline({ threads, runs, ratio }: KernelSettings, report: KernelReport): string {
  const { copyGBs, readGBs, peakGFLOPs } = report;
  const machine =
    copyGBs === null || readGBs === null || peakGFLOPs === null
      ? "nothing was timed"
      : `the machine copies ${formatMeasure(copyGBs)} GB/s, reads ${formatMeasure(readGBs)} GB/s where nothing is ` +
        `written, and reaches ${formatMeasure(peakGFLOPs)} GFLOP/s`;
  return `${plural(threads, "thread")}, medians of ${runs} runs, folds at ${ratio}x: ${machine}`;
}

function columns({ op, against }: KernelRow): Column<KernelRow>[] {
  const speed: Column<KernelRow> =
    against === "copy"
      ? { title: "GB/s", align: "right", cell: (row) => formatMeasure(row.GBs) }
      : { title: "GFLOP/s", align: "right", cell: (row) => formatMeasure(row.GFLOPs ?? Number.NaN) };
  return [
    { title: op, cell: (row) => (row.variant === "" ? op : row.variant) },
    { title: "backend", cell: (row) => (row.isa === "" ? row.backend : `${row.backend} ${row.isa}`) },
    { title: "type", cell: (row) => row.type },
    { title: "values", cell: (row) => row.layout },
    { title: "shape", cell: (row) => row.shape },
    { title: "cells", align: "right", cell: (row) => formatWhole(row.cells) },
    ...(op === "fold"
      ? [{ title: "undo\nlog", cell: (row: KernelRow) => (row.undoLog ? "with" : "without") }]
      : []),
    { title: "ms", align: "right", cell: (row) => formatMeasure(row.ms.median) },
    speed,
    { title: `% of\n${against}`, align: "right", cell: (row) => formatMeasure(100 * row.ratio) },
  ];
}
