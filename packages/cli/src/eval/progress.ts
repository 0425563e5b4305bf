/** Progress of a grid: what is being done, how much is left, and about how long that takes. */
import type { GridEvent, GridState, KlEvent, PasskeyEvent } from "@kvfold/eval";
import { formatDuration, formatWhole, plural } from "../ui/numbers.js";
import type { Progress } from "../ui/progress.js";

interface Run {
  readonly strategy: { readonly expression: string };
  readonly ratio: number;
}

export interface GridDisplay {
  /** Takes the events of the grid. */
  grid(event: GridEvent): void;
  /** Takes the events of its tasks, with the runs that they count. */
  task(event: KlEvent | PasskeyEvent, runs: readonly Run[]): void;
}

/**
 * @param word what the cases of the task are called
 * @param clock milliseconds
 */
export function gridDisplay(
  progress: Progress,
  word: "window" | "trial",
  clock: () => number = () => performance.now(),
): GridDisplay {
  const started = clock();
  let first: number | undefined;
  let where = "";
  let state: GridState = { done: 0, total: 0 };
  const status = (): string => statusOf(state, state.done - (first ?? 0), clock() - started);
  const now = (what: string): void => progress.now(`${where}: ${what} · ${status()}`);
  return {
    grid: (event) => {
      if (event.type === "part") return;
      state = { done: event.done, total: event.total };
      if (event.type === "cell") return;
      first ??= event.done;
      const { tokens, labels } = event.group;
      const text = Object.values(labels).filter((label) => typeof label === "string");
      where = `${formatWhole(tokens)} tokens, ${text.join(", ")}, ${word} ${event.index + 1}`;
      if (event.type === "case-done") progress.done(`${where}: done · ${status()}`);
    },
    task: (event, runs) => {
      const run = nextRun(event);
      if (event.type === "read") now(`reading ${event.done} of ${event.total} tokens`);
      else if (run !== undefined && runs[run] !== undefined) {
        now(`${runs[run].strategy.expression} at ${runs[run].ratio}x`);
      }
    },
  };
}

// ---------------------------------------------------------------------------------------------------------------

/** The run that begins with an event. */
function nextRun(event: KlEvent | PasskeyEvent): number | undefined {
  if (event.type === "full") return 0;
  if (event.type === "score") return event.run + 1;
  return event.type === "answer" ? (event.run ?? -1) + 1 : undefined;
}

function statusOf({ done, total }: GridState, fresh: number, elapsed: number): string {
  const count = `${formatWhole(done)} of ${plural(total, "result")}`;
  if (fresh <= 0 || done >= total) return count;
  return `${count} · about ${formatDuration((elapsed / fresh) * (total - done))} left`;
}
