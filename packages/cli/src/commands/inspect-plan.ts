/** `kvfold inspect plan`: statistics of a saved plan, and a picture of which tokens went where. */
import { hashPlan, loadPlan, type MergePlan, PIN_LEVEL, type PlanFile, printPlan } from "@kvfold/core";
import { Command } from "commander";
import type { CommandContext } from "../run.js";
import { printable } from "../ui/printable.js";
import type { Streams } from "../ui/streams.js";
import { styleFor } from "../ui/style.js";

const EXAMPLES = `
Examples:
  kvfold passkey --trials 1 --save-plan first.plan
  kvfold inspect plan first.plan
  kvfold inspect plan first.plan --json`;

export function inspectPlanCommand({ streams }: CommandContext): Command {
  return new Command("plan")
    .description("Statistics of a saved plan, and a picture of which tokens went where")
    .argument("<file>", "a plan file, as saved by kvfold passkey --save-plan")
    .option("--json", "print one JSON object, without the picture")
    .option("--verbose", "print stack traces of errors")
    .addHelpText("after", EXAMPLES)
    .action(async (path: string, flags: { json?: true }) => {
      const file = await loadPlan(path);
      const facts = planFacts(file.plan);
      if (flags.json === true) {
        streams.out(
          JSON.stringify({ command: "inspect-plan", file: path, ...facts, metadata: file.metadata }),
        );
      } else printPlanFile(file, facts, streams);
    });
}

// ---------------------------------------------------------------------------------------------------------------

interface PlanFacts {
  readonly layout: MergePlan["layout"];
  /** Old cells. */
  readonly cells: number;
  /** New cells. */
  readonly rows: number;
  /** cells / rows */
  readonly ratio: number;
  /** Tokens that no row contains. */
  readonly dropped: number;
  /** Rows that hold more than one token. */
  readonly merged: number;
  /** Tokens of the fullest row. */
  readonly mostTokens: number;
  readonly lastPosition: number;
  /** Smallest and largest bias, or null. */
  readonly bias: readonly [number, number] | null;
  /** Old cells that are pinned, by level. */
  readonly pins: { readonly absorb: number; readonly key: number; readonly exact: number };
  readonly hash: string;
}

function planFacts(plan: MergePlan): PlanFacts {
  const pinned = (level: number): number => plan.pins?.filter((each) => each === level).length ?? 0;
  return {
    layout: plan.layout,
    cells: plan.cells,
    rows: plan.rows,
    ratio: plan.cells / plan.rows,
    dropped: plan.dropped,
    merged: plan.counts.filter((count) => count > 1).length,
    mostTokens: plan.counts.reduce((most, count) => Math.max(most, count), 0),
    lastPosition: plan.positions.at(-1) ?? -1,
    bias: plan.bias === null ? null : range(plan.bias),
    pins: { absorb: pinned(PIN_LEVEL.absorb), key: pinned(PIN_LEVEL.key), exact: pinned(PIN_LEVEL.exact) },
    hash: hashPlan(plan),
  };
}

function range(values: Float32Array): [number, number] {
  return values.reduce<[number, number]>(
    ([least, most], value) => [Math.min(least, value), Math.max(most, value)],
    [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY],
  );
}

function printPlanFile(file: PlanFile, facts: PlanFacts, streams: Streams): void {
  const style = styleFor(streams);
  const lines: [string, string][] = [...Object.entries(file.metadata), ["hash", facts.hash]];
  const longest = Math.max(...lines.map(([title]) => title.length));
  for (const [title, text] of lines) {
    streams.out(`${style.strong(printable(title).padEnd(longest))}  ${printable(text)}`);
  }
  streams.out("");
  const { plan, pieces } = file;
  streams.out(printPlan(plan, { pieces, width: streams.width, color: streams.colour }).trimEnd());
}
