/** `kvfold eval kl`: how far the folded cache's expectations are from those of the full one. */
import { Command } from "commander";
import { runKlGrid } from "../eval/run.js";
import { type KlFlags, klSettings } from "../eval/settings.js";
import * as read from "../options.js";
import type { CommandContext } from "../run.js";
import { addCommonOptions, addGridOptions, carryOut } from "./eval-options.js";

const MOST_WINDOWS = 10_000;
/** Logits of a window are held for the whole vocabulary. */
const LONGEST_WINDOW = 4096;

const EXAMPLES = `
For every window the model reads the context once. The full cache, and the cache folded by every strategy at every
ratio, then read the same tokens, and what the model expects after each of them is compared.

Examples:
  kvfold eval kl                                     the default strategy on the embedded model and text
  kvfold eval kl --strategy mean --strategy "evict(by=keydiff,per=head)" --ratio 2,4,8 -o kl.jsonl
  kvfold eval kl --model model.gguf --text book.txt --tokens 2048,4096 --windows 12 -o kl.jsonl --json`;

export function evalKlCommand({ streams }: CommandContext): Command {
  const command = addGridOptions(
    new Command("kl"),
    "tokens of the context; a list gives a table for each (default: 2048)",
  )
    .description("KL divergence of the folded cache from the full one, over text that follows")
    .option("--text <file>", "a text file (default: the held-out text of the embedded model)")
    .option(
      "--windows <n>",
      "windows, spread over the text",
      read.wholeNumber("--windows", 1, MOST_WINDOWS),
      12,
    )
    .option(
      "--window <n>",
      "tokens that are compared after each context",
      read.wholeNumber("--window", 1, LONGEST_WINDOW),
      256,
    );
  return addCommonOptions(command)
    .addHelpText("after", EXAMPLES)
    .action(({ tokens = [2048], ...flags }: KlFlags) =>
      carryOut(streams, flags.json === true, () => klSettings({ ...flags, tokens }), runKlGrid),
    );
}
