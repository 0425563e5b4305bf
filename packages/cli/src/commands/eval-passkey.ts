/** `kvfold eval passkey`: which strategies keep a hidden key, over lengths, kinds of keys and haystacks. */
import { Command } from "commander";
import { runPasskeyGrid } from "../eval/run.js";
import { type PasskeyGridFlags, passkeyGridSettings } from "../eval/settings.js";
import * as read from "../options.js";
import type { CommandContext } from "../run.js";
import { addCommonOptions, addGridOptions, carryOut, MOST_TOKENS } from "./eval-options.js";

const MOST_TRIALS = 1000;

const EXAMPLES = `
For every trial the model reads the prompt once. The full cache, and the cache folded by every strategy at every ratio,
are then asked for the key; the question comes after the fold.

Examples:
  kvfold eval passkey                                the default strategy on the embedded model
  kvfold eval passkey --strategy mean --strategy "evict(by=keydiff,per=head)" --ratio 4,8 -o passkey.jsonl
  kvfold eval passkey --tokens 2048,4096 --key digits,words --haystack junk,book.txt --trials 16 -o passkey.jsonl`;

export function evalPasskeyCommand({ streams }: CommandContext): Command {
  const command = addGridOptions(
    new Command("passkey"),
    "most tokens of the prompt; a list gives a table for each (default: 4096)",
  )
    .description("Right answers of the folded cache beside those of the full one")
    .option(
      "--key <list>",
      "digits, words, or both (default: digits)",
      read.listOf(read.oneOf("--key", ["digits", "words"])),
    )
    .option(
      "--haystack <list>",
      "junk (llama.cpp's sentences), and text files (default: junk)",
      read.listOf(read.fileName),
    )
    .option(
      "--trials <n>",
      "keys to hide in each, at depths spread from 5 to 95 per cent",
      read.wholeNumber("--trials", 1, MOST_TRIALS),
      8,
    )
    .option(
      "--fold-every <n>",
      "fold while the prompt is read, after every n tokens; every strategy reads for itself",
      read.wholeNumber("--fold-every", 1, MOST_TOKENS),
    );
  return addCommonOptions(command)
    .addHelpText("after", EXAMPLES)
    .action(({ tokens = [4096], key = ["digits"], haystack = ["junk"], ...flags }: PasskeyGridFlags) =>
      carryOut(
        streams,
        flags.json === true,
        () => passkeyGridSettings({ ...flags, tokens, key, haystack }),
        runPasskeyGrid,
      ),
    );
}
