/** Prints what `kvfold eval` found: rows as JSON, or tables that compare every strategy with another one. */
import type { ComparedGroup, ComparedRow, Interval } from "@kvfold/eval";
import { formatWhole, plural } from "../ui/numbers.js";
import type { Streams } from "../ui/streams.js";
import { type Style, styleFor } from "../ui/style.js";
import { type Column, renderTable, wrap, wrapNote } from "../ui/table.js";

/** Longer lines are hard to read. */
const READABLE = 100;

/**
 * Tables for people.
 * @param baseline what all rows are compared with; default: each with the best other one
 */
export function printTables(groups: readonly ComparedGroup[], streams: Streams, baseline?: string): void {
  const style = styleFor(streams);
  for (const [index, group] of groups.entries()) {
    if (index > 0) streams.out("");
    for (const line of wrap(headline(group), streams.width)) streams.out(line);
    streams.out("");
    streams.out(
      renderTable(
        columnsOf(group, style, baseline === undefined ? "best other" : "baseline"),
        group.rows,
        streams.width,
        style,
      ),
    );
    const notes = notesOf(group, baseline);
    if (notes.length > 0) streams.out("");
    for (const note of notes)
      for (const line of wrapNote(note, Math.min(streams.width, READABLE))) streams.out(line);
  }
}

/** A line for each row, for programs. */
export function comparisonsAsJson(groups: readonly ComparedGroup[]): string[] {
  return groups.flatMap(({ group, rows }) =>
    rows.map(({ row, mean, comparison }) => {
      const { task, model, tokens, labels } = group;
      const { strategy, ratio } = row;
      return JSON.stringify({
        command: "eval-compare",
        task,
        model,
        tokens,
        ...labels,
        strategy,
        ratio,
        cases: row.task === "kl" ? row.windows : row.trials,
        mean,
        baseline: comparison?.baseline ?? null,
        pairs: comparison?.pairs ?? 0,
        difference: comparison?.difference ?? null,
        quotient: comparison?.quotient ?? null,
      });
    }),
  );
}

// ---------------------------------------------------------------------------------------------------------------

function headline({ group, rows }: ComparedGroup): string {
  const { task, model, tokens, labels, conditions } = group;
  const { seed, cacheType, foldEvery = null } = conditions;
  const most = Math.max(...rows.map(({ row }) => (row.task === "kl" ? row.windows : row.trials)));
  const what =
    task === "kl"
      ? `${plural(most, "window")} of ${labels.window} tokens after ${formatWhole(tokens)} of ${labels.text}`
      : `${labels.key} in ${formatWhole(tokens)} tokens of ${labels.haystack}, ${plural(most, "trial")}`;
  const folding = foldEvery === null ? "" : `, folded after every ${foldEvery} tokens`;
  return `${task}, ${model}: ${what}, cache ${cacheType}, seed ${seed}${folding}`;
}

function columnsOf({ group, rows }: ComparedGroup, style: Style, other: string): Column<ComparedRow>[] {
  const cases = (one: ComparedRow): number => (one.row.task === "kl" ? one.row.windows : one.row.trials);
  const uneven = new Set(rows.map(cases)).size > 1;
  return [
    { title: "strategy", cell: ({ row }) => row.strategy },
    { title: "ratio", align: "right", cell: ({ row }) => `${row.ratio}x` },
    ...(uneven
      ? [{ title: "cases", align: "right" as const, cell: (one: ComparedRow) => `${cases(one)}` }]
      : []),
    ...(group.task === "kl" ? KL_COLUMNS : passkeyColumns(style)),
    ...(group.task === "kl" ? [QUOTIENT] : []),
    {
      title: `less ${other}\n[95 %]`,
      align: "right",
      cell: ({ comparison }) => (comparison === null ? "-" : interval(comparison.difference, group.task)),
    },
  ];
}

const QUOTIENT: Column<ComparedRow> = {
  title: "KL,\ntimes",
  align: "right",
  cell: ({ comparison }) => {
    const quotient = comparison?.quotient ?? Number.NaN;
    return Number.isFinite(quotient) ? quotient.toFixed(2) : "-";
  },
};

const KL_COLUMNS: readonly Column<ComparedRow>[] = [
  { title: "KL\nmean", align: "right", cell: ({ mean }) => small(mean) },
  { title: "KL\np95", align: "right", cell: ({ row }) => (row.task === "kl" ? small(row.kl.p95) : "") },
  { title: "same\ntop", align: "right", cell: ({ row }) => (row.task === "kl" ? row.top1.toFixed(3) : "") },
  { title: "NLL\nmore", align: "right", cell: ({ row }) => (row.task === "kl" ? small(row.deltaNll) : "") },
];

const passkeyColumns = ({ good, bad }: Style): Column<ComparedRow>[] => [
  {
    title: "full\nright",
    align: "right",
    cell: ({ row }) => (row.task === "passkey" ? `${row.full}/${row.trials}` : ""),
  },
  {
    title: "folded\nright",
    align: "right",
    cell: ({ row }) =>
      row.task === "passkey" ? (row.lost === 0 ? good : bad)(`${row.folded}/${row.trials}`) : "",
  },
];

/** What stands behind "the best other" and "the baseline". */
function notesOf({ rows }: ComparedGroup, baseline: string | undefined): string[] {
  const compared = rows.filter((one) => one.comparison !== null);
  if (compared.length === 0) return [];
  if (baseline !== undefined) return [`the baseline: ${baseline}`];
  const ratios = [...new Set(compared.map(({ row }) => row.ratio))];
  return ratios.map((ratio) => {
    const others = compared.filter(({ row }) => row.ratio === ratio).map((one) => one.comparison!.baseline);
    return `the best at ${ratio}x, and the best other: ${[...new Set(others)].join(", ")}`;
  });
}

function interval({ mean, low, high }: Interval, task: string): string {
  const format = task === "kl" ? signed : signedShare;
  if (Number.isNaN(low)) return format(mean);
  return `${format(mean)} [${format(low)}, ${format(high)}]`;
}

/** Three digits. */
const small = (value: number): string =>
  Math.abs(value) >= 1e-4 || value === 0 ? value.toFixed(4) : value.toExponential(1);
const signed = (value: number): string => (value > 0 ? `+${small(value)}` : small(value));
const signedShare = (value: number): string => `${value > 0 ? "+" : ""}${Math.round(100 * value)} %`;
