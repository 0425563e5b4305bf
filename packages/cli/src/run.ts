/** Runs a command table: parses, carries out, and turns whatever happens into output and an exit code. */
import type { Command } from "commander";
import { CommanderError } from "commander";
import { describeFailure, EXIT, failureAsJson, failureAsText } from "./ui/failure.js";
import { fitHelp, NARROWEST } from "./ui/help.js";
import { endQuietlyOnClosedPipes, processStreams, type Streams } from "./ui/streams.js";

/** What a command gets besides its options. */
export interface CommandContext {
  readonly streams: Streams;
}

/**
 * Carries out the process's command line and sets its exit code.
 * @param build makes the program out of its commands
 */
export async function run(build: (context: CommandContext) => Command): Promise<void> {
  endQuietlyOnClosedPipes();
  const streams = processStreams();
  const words = process.argv.slice(2);
  const unasked = { help: "" };
  try {
    const program = build({ streams });
    prepare(program, streams, unasked);
    await program.parseAsync(words, { from: "user" });
  } catch (error) {
    if (error instanceof CommanderError && error.code === "commander.help") streams.out(unasked.help);
    else process.exitCode = report(error, words, streams);
  }
}

// ---------------------------------------------------------------------------------------------------------------

/**
 * Commander throws instead of exiting, and leaves the printing of errors to us.
 * @param unasked takes the help of a command that needs a word more, as `kvfold` alone
 */
function prepare(command: Command, streams: Streams, unasked: { help: string }): void {
  command.configureHelp({ minWidthToWrap: NARROWEST });
  command.exitOverride().allowExcessArguments(false).showSuggestionAfterError(true);
  command.configureOutput({
    writeErr: (text) => {
      unasked.help = fitHelp(text.trimEnd(), streams.width);
    },
    writeOut: (text) => streams.out(fitHelp(text.trimEnd(), streams.width)),
    getOutHelpWidth: () => streams.width,
    getErrHelpWidth: () => streams.width,
  });
  for (const each of command.commands) prepare(each, streams, unasked);
}

function report(error: unknown, words: readonly string[], streams: Streams): number {
  if (error instanceof CommanderError && error.exitCode === 0) return EXIT.ok; // --help and --version
  const failure = describeFailure(error);
  const verbose = words.includes("--verbose") || (process.env.KVFOLD_DEBUG ?? "") !== "";
  streams.err(words.includes("--json") ? failureAsJson(failure) : failureAsText(failure, verbose));
  return failure.exitCode;
}
