/** Progress on standard error: a spinner for somebody who watches, a line for each finished step elsewhere. */
import ora from "ora";
import type { Streams } from "./streams.js";

export interface Progress {
  /** What is being done now; shown only where it can be overwritten. */
  now(text: string): void;
  /** A step is finished. */
  done(text: string): void;
  /** Ends the display; nothing may follow. */
  stop(): void;
}

/** @param quiet shows nothing, for output that programs read */
export function createProgress(streams: Streams, quiet: boolean): Progress {
  if (quiet) return { now: () => {}, done: () => {}, stop: () => {} };
  if (!streams.live) return { now: () => {}, done: (text) => streams.err(text), stop: () => {} };
  // stdin stays as it is: taking it over would keep Ctrl-C from us
  const spinner = ora({ stream: process.stderr, discardStdin: false });
  let stopped = false;
  const show = (text: string): void => {
    if (stopped) return; // news that come late must not start it again
    spinner.text = text;
    if (!spinner.isSpinning) spinner.start();
  };
  return {
    now: show,
    done: show,
    stop: () => {
      stopped = true;
      spinner.stop();
    },
  };
}
