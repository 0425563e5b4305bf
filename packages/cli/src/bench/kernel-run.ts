/** Times all that was asked for, one combination after another. */
import { isKvfoldError } from "@kvfold/core";
import { median } from "@kvfold/eval";
import { type BenchResult, runBench } from "@kvfold/native";
import { formatMeasure, formatWhole } from "../ui/numbers.js";
import type { Progress } from "../ui/progress.js";
import { type KernelCase, type KernelSettings, kernelCases, shapeName } from "./kernel-settings.js";

/** A row of the contract. */
export interface KernelRow {
  readonly op: string;
  readonly variant: string;
  readonly backend: string;
  readonly isa: string;
  readonly type: string;
  readonly layout: "rows" | "transposed";
  readonly shape: string;
  readonly cells: number;
  readonly undoLog: boolean;
  /** Bytes usefully read plus written, in 10^9 a second. */
  readonly GBs: number;
  /** Floating-point operations in 10^9 a second; null where they are not counted. */
  readonly GFLOPs: number | null;
  /** To copy bandwidth where `against` is copy, to peak FLOP/s otherwise; the median over the rounds. */
  readonly ratio: number;
  readonly against: "copy" | "peak";
  readonly ms: { readonly median: number; readonly minimum: number; readonly maximum: number };
}

export interface SkippedCase {
  readonly op: string;
  readonly backend: string;
  readonly type: string;
  readonly shape: string;
  readonly cells: number;
  readonly reason: string;
}

export interface KernelReport {
  readonly rows: readonly KernelRow[];
  readonly skipped: readonly SkippedCase[];
  /** Medians of what the machine reached beside the operations; null when nothing was timed. */
  readonly copyGBs: number | null;
  readonly readGBs: number | null;
  readonly peakGFLOPs: number | null;
  /** What ended the run before its end; then the rows are those that were done. */
  readonly interrupted: unknown;
}

/** @throws KvfoldError as `runBench` does; an abort ends the run instead, and the report says so */
export async function runKernels(
  settings: KernelSettings,
  progress: Progress,
  signal: AbortSignal,
): Promise<KernelReport> {
  const rows: KernelRow[] = [];
  const skipped: SkippedCase[] = [];
  const copies: number[] = [];
  const reads: number[] = [];
  const peaks: number[] = [];
  let interrupted: unknown;
  const cases = kernelCases(settings);
  for (const [index, one] of cases.entries()) {
    progress.now(`${describe(one)} · ${formatWhole(index + 1)} of ${formatWhole(cases.length)}`);
    try {
      const result = await runBench({ ...settings, ...one, signal });
      if (result.skipped === null) {
        copies.push(result.copyBytes / 1e9);
        reads.push(result.readBytes / 1e9);
        peaks.push(result.peakOperations / 1e9);
        const made = rowsOf(one, result);
        rows.push(...made);
        progress.done(`${describe(one)}: ${made.map(share).join(", ")}`);
      } else if (one.layout === "rows") {
        // the other layout is not everybody's
        skipped.push({ ...one, shape: shapeName(one.shape), reason: result.skipped });
        progress.done(`${describe(one)}: skipped, ${result.skipped}`);
      }
    } catch (error) {
      if (!isKvfoldError(error) || error.code !== "KVFOLD_ABORTED") throw error;
      interrupted = error;
      break;
    }
  }
  const middle = (values: readonly number[]): number | null => (values.length === 0 ? null : median(values));
  const machine = { copyGBs: middle(copies), readGBs: middle(reads), peakGFLOPs: middle(peaks) };
  return { rows, skipped, ...machine, interrupted };
}

// ---------------------------------------------------------------------------------------------------------------

function rowsOf({ shape, ...one }: KernelCase, { rows, isa, against }: BenchResult): KernelRow[] {
  return rows.map(({ variant, undoLog, bytes, operations, ratio, ms }) => ({
    op: one.op,
    variant,
    backend: one.backend,
    isa,
    type: one.type,
    layout: one.layout,
    shape: shapeName(shape),
    cells: one.cells,
    undoLog,
    GBs: bytes / ms.median / 1e6,
    GFLOPs: operations === 0 ? null : operations / ms.median / 1e6,
    ratio,
    against,
    ms,
  }));
}

const describe = ({ op, backend, type, layout, shape, cells }: KernelCase): string =>
  `${op}, ${backend}, ${type}${layout === "rows" ? "" : ", transposed values"}, ` +
  `${shapeName(shape)}, ${formatWhole(cells)} cells`;

const share = ({ variant, ratio }: KernelRow): string =>
  `${variant === "" ? "" : `${variant} `}${formatMeasure(100 * ratio)} %`;
