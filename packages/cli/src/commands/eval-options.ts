/** Options that the grids of `kvfold eval` share, and how such a grid is carried out and printed. */
import { compareCells, type EvalCell } from "@kvfold/eval";
import type { Command } from "commander";
import { printTables } from "../eval/print.js";
import type { GridRunOptions } from "../eval/run.js";
import { onInterrupt } from "../interrupt.js";
import * as read from "../options.js";
import { createProgress } from "../ui/progress.js";
import type { Streams } from "../ui/streams.js";

/** Positions are 32-bit; whether the model goes that far is asked when it is loaded. */
export const MOST_TOKENS: number = 2 ** 31 - 1;

/** The options that both tasks have, in the order of their help. */
export function addGridOptions(command: Command, tokens: string): Command {
  return command
    .option("--model <file>", "a GGUF file, or nano, the embedded model", "nano")
    .option(
      "--strategy <expression>",
      "strategy expression or module path; may be repeated (default: the default strategy)",
      read.collect,
    )
    .option("--ratio <list>", "cells before / cells after (default: 4)", read.ratios)
    .option("--tokens <list>", tokens, read.listOf(read.wholeNumber("--tokens", 1, MOST_TOKENS)));
}

export function addCommonOptions(command: Command): Command {
  return command
    .option("--cache-type <type>", "f16 or q8_0", read.oneOf("--cache-type", ["f16", "q8_0"]), "f16")
    .option("--flash-attention <state>", "on or off", read.oneOf("--flash-attention", ["on", "off"]), "on")
    .option("--seed <n>", "makes keys and places, and is handed to the strategies", read.seed, 1)
    .option(
      "--threads <n>",
      "threads of llama.cpp (default: physical cores less one)",
      read.wholeNumber("--threads", 1, 1024),
    )
    .option("-o, --output <file>", "append every result to this file, and leave out what it already holds")
    .option("--json", "print one JSON object a line")
    .option("--verbose", "print stack traces of errors");
}

/** Runs a grid until it is done or interrupted, and prints rows as they come or tables at the end. */
export async function carryOut<
  Settings extends { readonly json: boolean; readonly output: string | undefined },
>(
  streams: Streams,
  json: boolean,
  prepare: () => Promise<Settings>,
  work: (settings: Settings, options: GridRunOptions) => Promise<EvalCell[]>,
): Promise<void> {
  const interrupt = onInterrupt();
  const progress = createProgress(streams, json);
  try {
    const settings = await prepare();
    const cells = await work(settings, {
      progress,
      signal: interrupt.signal,
      onRow: (row) => {
        if (json) streams.out(JSON.stringify(row));
      },
    });
    progress.stop();
    if (!json) printTables(compareCells(cells), streams);
    if (!json && settings.output !== undefined) streams.err(`results are in ${settings.output}`);
  } finally {
    progress.stop();
    interrupt.dispose();
  }
}
