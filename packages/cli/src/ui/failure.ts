/** Turns whatever was thrown into an exit code and one readable block, or one line of JSON. */
import { isKvfoldError, type KvfoldErrorCode } from "@kvfold/core";
import { CommanderError } from "commander";

/** Exit codes of `kvfold`. A strategy that loses a passkey is a result: 0. */
export const EXIT = { ok: 0, failed: 1, usage: 2, interrupted: 130 } as const;

/** What the caller wrote, not what went wrong afterwards. */
const USAGE_CODES: ReadonlySet<KvfoldErrorCode> = new Set([
  "KVFOLD_ARGUMENT",
  "KVFOLD_RATIO",
  "KVFOLD_BUDGET",
  "KVFOLD_UNKNOWN_OPTION",
  "KVFOLD_UNKNOWN_STRATEGY",
  "KVFOLD_EXPRESSION",
  "KVFOLD_MODULE",
]);

export interface Failure {
  readonly exitCode: number;
  readonly code: KvfoldErrorCode;
  readonly message: string;
  readonly hint: string;
  readonly stack: string | undefined;
}

export function describeFailure(error: unknown): Failure {
  if (error instanceof CommanderError) return describeUsage(error);
  if (isKvfoldError(error)) {
    const interrupted = error.code === "KVFOLD_ABORTED";
    const failed = USAGE_CODES.has(error.code) ? EXIT.usage : EXIT.failed;
    return {
      exitCode: interrupted ? EXIT.interrupted : failed,
      code: error.code,
      message: error.who === undefined ? error.what : `${error.who}: ${error.what}`,
      hint: error.hint ?? (interrupted ? "nothing is left half done; run the command again" : ""),
      stack: error.stack,
    };
  }
  return {
    exitCode: EXIT.failed,
    code: "KVFOLD_INTERNAL",
    message:
      error instanceof Error ? `unexpected ${error.name}: ${error.message}` : `unexpected ${String(error)}`,
    hint: "this is a defect of kvfold; run again with --verbose and report what it prints",
    stack: error instanceof Error ? error.stack : undefined,
  };
}

/** The line for `--json`. */
export function failureAsJson({ code, message, hint }: Failure): string {
  return JSON.stringify({ error: { code, message, hint } });
}

/** A few lines for people; later lines of a message, such as a caret under an expression, keep their indent. */
export function failureAsText(failure: Failure, verbose: boolean): string {
  const lines = [`kvfold: ${failure.message}`];
  if (failure.hint !== "") lines.push(`  ${failure.hint}`);
  if (failure.code !== "KVFOLD_ABORTED") lines.push(`  (${failure.code})`);
  if (verbose && failure.stack !== undefined) lines.push(failure.stack);
  return lines.join("\n");
}

// ---------------------------------------------------------------------------------------------------------------

function describeUsage(error: CommanderError): Failure {
  const [sentence, suggestion] = error.message.replace(/^error: /, "").split("\n");
  return {
    exitCode: EXIT.usage,
    code: "KVFOLD_ARGUMENT",
    message: sentence!,
    hint:
      suggestion?.replace(/^\((.*)\)$/, "$1") ??
      "kvfold --help lists commands, kvfold <command> --help options",
    stack: error.stack,
  };
}
