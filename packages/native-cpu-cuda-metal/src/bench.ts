/** Times operations of a backend against what the machine itself reaches in the same run. */
import type { DType } from "@kvfold/core";
import { withFlag } from "./abort.js";
import { loadAddon } from "./load.js";
import { callNative } from "./native-error.js";
import { checkThreads } from "./threads.js";

const WHO = "bench";

/** A cache whose layers are all alike. */
export interface BenchShape {
  readonly layers: number;
  readonly kvHeads: number;
  /** Channels of a key head, and of a value head. */
  readonly headDim: number;
}

export interface BenchOptions {
  /** One of `benchOperations()`. */
  readonly op: string;
  readonly backend: string;
  readonly type: DType;
  readonly layout: "rows" | "transposed";
  readonly shape: BenchShape;
  readonly cells: number;
  /** Cells before / cells after, a whole number. */
  readonly ratio: number;
  /** Of the operation and of its yardstick. [physical cores - 1, at least 1] */
  readonly threads?: number;
  /** Rounds that count; one more warms up. */
  readonly runs: number;
  /** Query rows for each KV head; `attend` and `fit`. */
  readonly queryRows: number;
  /** Bytes; what needs more is left out. null: no limit. */
  readonly memoryLimit: number | null;
  /** Polled between and inside of the operations. */
  readonly signal?: AbortSignal;
}

export interface BenchRow {
  /** "" where an operation has one only. */
  readonly variant: string;
  /** Whether the time includes saving what is overwritten. */
  readonly undoLog: boolean;
  /** Usefully read plus written. */
  readonly bytes: number;
  /** Floating-point operations; 0 where they are not counted. */
  readonly operations: number;
  /** Milliseconds. */
  readonly ms: { readonly median: number; readonly minimum: number; readonly maximum: number };
  /** Median over the rounds of speed / yardstick. */
  readonly ratio: number;
}

export interface BenchResult {
  readonly rows: readonly BenchRow[];
  /** What ratios are to. */
  readonly against: "copy" | "peak";
  /** Bytes read plus written a second that the machine copies; 0 when nothing was timed. */
  readonly copyBytes: number;
  /**
   * Bytes a second that the machine reads where nothing is written; 0 when nothing was timed. Where a copy moves much
   * more, what mostly reads (a fold to a quarter: four bytes of five) cannot keep up with it.
   */
  readonly readBytes: number;
  /** Floating-point operations a second on registers alone; 0 when nothing was timed. */
  readonly peakOperations: number;
  /** Instruction set of the backend; "" where it is not known. */
  readonly isa: string;
  /** Why there are no rows, or null. */
  readonly skipped: string | null;
}

/**
 * Operations that can be timed.
 * @throws KvfoldError KVFOLD_NATIVE_MISSING
 */
export function benchOperations(): string[] {
  return loadAddon().benchOperations();
}

/**
 * Times all variants of one operation of one backend on one cache, off the event loop: each once a round, after the
 * yardstick, medians over the rounds. A combination that does not exist, or is too large, is no
 * error: `skipped` says why.
 *
 * @throws KvfoldError KVFOLD_ARGUMENT, KVFOLD_ABORTED, KVFOLD_NATIVE_MISSING, KVFOLD_NATIVE
 *
 * @example
 * const shape = { layers: 30, kvHeads: 3, headDim: 64 };
 * const { rows } = await runBench({ op: "fold", backend: "cpu", type: "f16", layout: "rows", shape, cells: 8192,
 *   ratio: 4, runs: 10, queryRows: 1024, memoryLimit: null });
 */
export async function runBench(options: BenchOptions): Promise<BenchResult> {
  const { shape, layout, signal, op, backend, type, cells, ratio, runs, queryRows, memoryLimit } = options;
  const threads = checkThreads(options.threads);
  const raw = await callNative(WHO, async () => {
    const addon = loadAddon();
    return withFlag(addon, signal, WHO, (flag) =>
      addon.bench({
        ...{ op, backend, type, cells, ratio, threads, runs, queryRows, memoryLimit, flag },
        ...{ layers: shape.layers, kvHeads: shape.kvHeads, headDim: shape.headDim },
        valueTransposed: layout === "transposed",
      }),
    );
  });
  return {
    rows: raw.rows.map(({ variant, undoLog, bytes, operations, ratio: share, ...seconds }) => ({
      ...{ variant, undoLog, bytes, operations },
      ms: {
        median: 1e3 * seconds.median,
        minimum: 1e3 * seconds.minimum,
        maximum: 1e3 * seconds.maximum,
      },
      ratio: share,
    })),
    against: raw.compute ? "peak" : "copy",
    copyBytes: raw.copy,
    readBytes: raw.read,
    peakOperations: raw.peak,
    isa: raw.isa,
    skipped: raw.skipped === "" ? null : raw.skipped,
  };
}
