/** Standard output and error: who may write what, how wide they are, and what happens when the reader is gone. */

/** Where a command writes. Results go to `out`, everything else to `err`. */
export interface Streams {
  /** Writes a line of the result. */
  out(line: string): void;
  /** Writes a line for people: errors, notes, progress. */
  err(line: string): void;
  /** Columns of the result. */
  readonly width: number;
  /** Whether somebody watches standard error, so that it may move. */
  readonly live: boolean;
  /** Whether results may be coloured. */
  readonly colour: boolean;
}

/** Columns when nobody says how many there are: pipes and log files. */
const DEFAULT_WIDTH = 100;
const NARROWEST = 40;

type Output = Pick<NodeJS.WriteStream, "write" | "isTTY" | "columns">;

/**
 * The process's own streams. `COLUMNS` wins over the terminal; `NO_COLOR` (no-color.org) switches colours off. A
 * terminal without a size says that it has 0 columns; nothing can be drawn over there.
 */
export function processStreams(
  environment: NodeJS.ProcessEnv = process.env,
  stdout: Output = process.stdout,
  stderr: Output = process.stderr,
): Streams {
  const wished = Number.parseInt(environment.COLUMNS ?? "", 10);
  const columns = wished > 0 ? wished : stdout.columns > 0 ? stdout.columns : DEFAULT_WIDTH;
  const watched = stderr.isTTY === true && stderr.columns > 0;
  return {
    out: (line) => void stdout.write(`${line}\n`),
    err: (line) => void stderr.write(`${line}\n`),
    width: Math.max(NARROWEST, columns),
    live: watched && environment.TERM !== "dumb" && environment.CI === undefined,
    colour: stdout.isTTY === true && (environment.NO_COLOR ?? "") === "",
  };
}

/** Ends quietly when the reader of a pipe goes away, as in `kvfold list | head`. */
export function endQuietlyOnClosedPipes(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EPIPE") process.exit(process.exitCode ?? 0);
      throw error;
    });
  }
}
