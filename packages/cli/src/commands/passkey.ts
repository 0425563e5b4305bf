/** `kvfold passkey`: hide a key in a long text, fold the cache, ask for the key. */

import { Command } from "commander";
import { onInterrupt } from "../interrupt.js";
import * as read from "../options.js";
import { measurePasskey } from "../passkey/measure.js";
import { savePasskeyPlan } from "../passkey/plan-file.js";
import { printPasskey } from "../passkey/print.js";
import { type PasskeyFlags, passkeySettings } from "../passkey/settings.js";
import type { CommandContext } from "../run.js";
import { createProgress } from "../ui/progress.js";

/** Most trials of one run. */
const MOST_TRIALS = 1000;
/** Positions are 32-bit; whether the model goes that far is asked when it is loaded. */
const MOST_TOKENS = 2 ** 31 - 1;

const EXAMPLES = `
Examples:
  kvfold passkey                                    the default strategy on the embedded model, offline
  kvfold passkey --strategy mean --strategy "evict(by=keydiff,per=head)" --ratio 4,8
  kvfold passkey --model model.gguf --tokens 8192 --key words --haystack book.txt --json`;

export function passkeyCommand({ streams }: CommandContext): Command {
  return new Command("passkey")
    .description("Hide a key in a long text, fold the cache, then ask for the key")
    .option("--model <file>", "a GGUF file, or nano, the embedded model", "nano")
    .option(
      "--strategy <expression>",
      "strategy expression or module path; may be repeated (default: the default strategy)",
      read.collect,
    )
    .option(
      "--ratio <list>",
      "cells before / cells after; a list gives a row for each (default: 4)",
      read.ratios,
    )
    .option(
      "--tokens <n>",
      "most tokens of the prompt, question included",
      read.wholeNumber("--tokens", 1, MOST_TOKENS),
      4096,
    )
    .option(
      "--key <kind>",
      "digits (1 to 50000) or words (three)",
      read.oneOf("--key", ["digits", "words"]),
      "digits",
    )
    .option(
      "--trials <n>",
      "keys to hide, each at its depth (default: 8)",
      read.wholeNumber("--trials", 1, MOST_TRIALS),
    )
    .option("--depths <list>", "where to hide them, in per cent (default: spread from 5 to 95)", read.depths)
    .option("--haystack <text>", "junk (llama.cpp's sentences), or a text file", "junk")
    .option(
      "--fold-every <n>",
      "fold while the prompt is read, after every n tokens",
      read.wholeNumber("--fold-every", 1, MOST_TOKENS),
    )
    .option("--cache-type <type>", "f16 or q8_0", read.oneOf("--cache-type", ["f16", "q8_0"]), "f16")
    .option("--flash-attention <state>", "on or off", read.oneOf("--flash-attention", ["on", "off"]), "on")
    .option("--seed <n>", "makes the keys and windows, and is handed to the strategies", read.seed, 1)
    .option(
      "--threads <n>",
      "threads of llama.cpp (default: physical cores less one)",
      read.wholeNumber("--threads", 1, 1024),
    )
    .option("--save-plan <file>", "save the plan of the first trial; needs one strategy and one ratio")
    .option("--demo", "the strategies that lose the key beside those that keep it")
    .option("--json", "print one JSON object")
    .option("--verbose", "print stack traces of errors")
    .addHelpText("after", EXAMPLES)
    .action(async (flags: PasskeyFlags) => {
      const interrupt = onInterrupt();
      const progress = createProgress(streams, flags.json === true);
      try {
        const settings = await passkeySettings(flags);
        const result = await measurePasskey(settings, progress, interrupt.signal);
        progress.stop();
        if (settings.savePlan !== undefined) await savePasskeyPlan(settings.savePlan, settings, result);
        printPasskey(settings, result, streams);
      } finally {
        progress.stop();
        interrupt.dispose();
      }
    });
}
