/** `kvfold bench decode`: is a folded cache as fast as one that was never larger? */
import { Command } from "commander";
import { printDecode } from "../bench/decode-print.js";
import { runDecodeBench } from "../bench/decode-run.js";
import { type DecodeFlags, decodeSettings } from "../bench/decode-settings.js";
import { onInterrupt } from "../interrupt.js";
import * as read from "../options.js";
import type { CommandContext } from "../run.js";
import { createProgress } from "../ui/progress.js";

const MOST_TOKENS = 2 ** 31 - 1;

const EXAMPLES = `
Every run reads the prompt (full), folds it (folded), and reads as many tokens as cells stayed (native); the three then
decode in turns. Speeds are those of the median step, shown are medians over the runs after one that warms up, ratios
are medians of the ratios of each run. prefillMs is reading without signals, captureMs what the signals of the strategy
add, planMs and foldMs what the fold itself takes.

Examples:
  kvfold bench decode                                      the default strategy on the embedded model, 4x
  kvfold bench decode --strategy refit --ratio 2,4,8 --threads 1
  kvfold bench decode --model model.gguf --tokens 8192 --json`;

export function benchDecodeCommand({ streams }: CommandContext): Command {
  return new Command("decode")
    .description("Decode speed of a full, a folded and a native cache, and what the fold costs")
    .option("--model <file>", "a GGUF file, or nano, the embedded model", "nano")
    .option(
      "--strategy <expression>",
      "strategy expression or module path; may be repeated (default: the default strategy)",
      read.collect,
    )
    .option("--ratio <list>", "cells before / cells after (default: 4)", read.ratios)
    .option("--tokens <n>", "tokens of the prompt", read.wholeNumber("--tokens", 1, MOST_TOKENS), 4096)
    .option("--text <file>", "a text file (default: the held-out text of the embedded model)")
    .option("--runs <n>", "runs that count", read.wholeNumber("--runs", 1, 1000), 10)
    .option("--cache-type <type>", "f16 or q8_0", read.oneOf("--cache-type", ["f16", "q8_0"]), "f16")
    .option("--flash-attention <state>", "on or off", read.oneOf("--flash-attention", ["on", "off"]), "on")
    .option("--seed <n>", "handed to the strategies", read.seed, 1)
    .option(
      "--threads <n>",
      "threads of llama.cpp and of the fold (default: physical cores less one)",
      read.wholeNumber("--threads", 1, 256),
    )
    .option("--json", "print one JSON object a line")
    .option("--verbose", "print stack traces of errors")
    .addHelpText("after", EXAMPLES)
    .action(async (flags: DecodeFlags) => {
      const interrupt = onInterrupt();
      const progress = createProgress(streams, flags.json === true);
      try {
        const settings = await decodeSettings(flags);
        let first = true;
        await runDecodeBench(settings, {
          progress,
          signal: interrupt.signal,
          onResult: (result) => {
            if (!first && !settings.json) streams.out("");
            first = false;
            printDecode(settings, result, streams);
          },
        });
      } finally {
        progress.stop();
        interrupt.dispose();
      }
    });
}
