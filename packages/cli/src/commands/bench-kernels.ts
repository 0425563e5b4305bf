/** `kvfold bench kernels`: every operation of every backend against what this machine itself reaches. */
import { DTYPES, type DType } from "@kvfold/core";
import { Command } from "commander";
import { printKernels } from "../bench/kernel-print.js";
import { runKernels } from "../bench/kernel-run.js";
import { type KernelFlags, kernelSettings, readShape } from "../bench/kernel-settings.js";
import { onInterrupt } from "../interrupt.js";
import * as read from "../options.js";
import type { CommandContext } from "../run.js";
import { createProgress } from "../ui/progress.js";

/** KVFOLD_MAX_CELLS of the add-on. */
const MOST_CELLS = 2 ** 27;
const MOST_QUERY_ROWS = 2 ** 20;

const TYPES = Object.keys(DTYPES) as DType[];

const EXAMPLES = `
fold, rope and key-stats are set against the bytes that the machine copies, attend and fit against the floating-point
operations that it reaches on registers; both are measured in the same rounds with the same number of threads. Rounds
are interleaved, the first one warms up, medians are shown. A copy comes right before whatever is set against it, and is
large, so that nothing of the cache is at hand. Bytes are those usefully read plus written. Where the machine copies
much more than it reads alone, no fold keeps up with a copy: most of its bytes are read.

fold:   merge (mean of neighbours), merge-turned (keys rotated to the row first), evict (cells picked at random),
        composite (others in every head), each with and without saving the undo log
attend: statistics, outputs; fit: one layer, outputs known; rope: all keys turned in place, undo log included

The whole table takes long: choose --op, --cells or --runs. The backend reference is timed only where it is named.

Examples:
  kvfold bench kernels --op fold --type f16 --shape 30x3x64 --cells 2048,8192
  kvfold bench kernels --threads 4 --json`;

export function benchKernelsCommand({ streams }: CommandContext): Command {
  const words = (text: string): string[] => read.listOf((word) => word)(text);
  return new Command("kernels")
    .description("Operations of the native backends, as ratios to copy bandwidth or peak FLOP/s")
    .option("--op <list>", "operations (default: all)", words)
    .option("--backend <list>", "backends (default: all but reference)", words)
    .option(
      "--type <list>",
      `types of keys and values: ${TYPES.join(", ")} (default: f16,q8_0)`,
      read.listOf(read.oneOf("--type", TYPES)),
    )
    .option(
      "--shape <list>",
      "layers x KV heads x channels of a head (default: 30x3x64,32x8x128)",
      read.listOf(readShape),
    )
    .option(
      "--cells <list>",
      "cells of the cache (default: 2048,8192,32768)",
      read.listOf(read.wholeNumber("--cells", 1, MOST_CELLS)),
    )
    .option("--ratio <n>", "cells before / cells after", read.wholeNumber("--ratio", 1, 1024), 4)
    .option(
      "--threads <n>",
      "threads (default: physical cores less one)",
      read.wholeNumber("--threads", 1, 256),
    )
    .option("--runs <n>", "rounds that count", read.wholeNumber("--runs", 1, 1000), 10)
    .option(
      "--query-rows <n>",
      "query rows for each KV head; attend and fit",
      read.wholeNumber("--query-rows", 8, MOST_QUERY_ROWS),
      1024,
    )
    .option(
      "--memory <GiB>",
      "leave out what needs more (default: half of what is free)",
      read.wholeNumber("--memory", 1, 2 ** 20),
    )
    .option("--json", "print one JSON object")
    .option("--verbose", "print stack traces of errors")
    .addHelpText("after", EXAMPLES)
    .action(async (flags: Partial<KernelFlags> & Pick<KernelFlags, "ratio" | "runs" | "queryRows">) => {
      const interrupt = onInterrupt();
      const progress = createProgress(streams, flags.json === true);
      try {
        const settings = kernelSettings({
          ...flags,
          type: flags.type ?? ["f16", "q8_0"],
          shape: flags.shape ?? ["30x3x64", "32x8x128"].map(readShape),
          cells: flags.cells ?? [2048, 8192, 32768],
        });
        const report = await runKernels(settings, progress, interrupt.signal);
        progress.stop();
        printKernels(settings, report, streams);
        if (report.interrupted !== undefined) throw report.interrupted;
      } finally {
        progress.stop();
        interrupt.dispose();
      }
    });
}
