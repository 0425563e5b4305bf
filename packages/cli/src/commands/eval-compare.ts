/** `kvfold eval compare`: tables of a result file, with paired differences and how sure they are. */
import { KvfoldError } from "@kvfold/core";
import { compareCells, readCells } from "@kvfold/eval";
import { Command } from "commander";
import { comparisonsAsJson, printTables } from "../eval/print.js";
import type { CommandContext } from "../run.js";

const EXAMPLES = `
Windows or trials that two strategies share are compared one by one; the interval is a percentile bootstrap of the mean
difference (95 %, 10,000 resamples of whole windows or trials, seeded). A file that is still being written will do.

Examples:
  kvfold eval compare kl.jsonl                                     every strategy with the best other one
  kvfold eval compare kl.jsonl --baseline "evict(by=keydiff,per=head)" --json`;

interface CompareFlags {
  readonly baseline?: string;
  readonly json?: true;
}

export function evalCompareCommand({ streams }: CommandContext): Command {
  return new Command("compare")
    .description("Compare the strategies of a result file, window by window or trial by trial")
    .argument("<file>", "a file that kvfold eval kl or passkey wrote with -o")
    .option("--baseline <expression>", "compare with this one (default: the best other at the same ratio)")
    .option("--json", "print one JSON object a line")
    .option("--verbose", "print stack traces of errors")
    .addHelpText("after", EXAMPLES)
    .action((file: string, flags: CompareFlags) => {
      const cells = readCells(file);
      if (cells.length === 0) {
        throw new KvfoldError("KVFOLD_FILE", `the result file ${JSON.stringify(file)} holds no result`, {
          hint: "write some: kvfold eval kl -o FILE",
        });
      }
      const { baseline } = flags;
      const groups = compareCells(cells, baseline === undefined ? {} : { baseline });
      if (flags.json !== true) printTables(groups, streams, baseline);
      else for (const line of comparisonsAsJson(groups)) streams.out(line);
    });
}
