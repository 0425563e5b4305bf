/** Plans as text: statistics, and a picture of which tokens went where. */
import { KvfoldError } from "../errors.js";
import { checkPlanAlone } from "./check.js";
import { type MergePlan, PIN_LEVEL, type SharedPlan } from "./plan.js";
import { commonPicture, densityLines, headsOfCells } from "./print-composite.js";
import { type PictureRow, picture } from "./print-picture.js";
import { paint, shorten, wrap, wrapWords } from "./print-text.js";
import { valueFacts, valueLines } from "./print-values.js";

export interface PrintPlanOptions {
  /** Text of each old cell; left out: cells are shown by their index. [cells] */
  readonly pieces?: readonly string[] | null;
  /** Columns of the terminal, at least 20; default 80. */
  readonly width?: number;
  /** ANSI colours; default false. */
  readonly color?: boolean;
  /** Lines of the picture at most; default 40. */
  readonly lines?: number;
}

const LEAST_WIDTH = 20;

/**
 * Draws a plan. Kept tokens stand as they are, merged ones in brackets (`+` where they were not neighbours); the number
 * in front of a line is the new position of its first row.
 *
 *     shared plan: 5 cells -> 4 rows, 1.25x
 *     rows       3 kept, 1 merged of 2 cells
 *     ...
 *     0  a [bc] d e
 *
 * Of a composite plan it draws where each head kept cells (darker = more), and how many of them most heads keep.
 *
 * @throws KvfoldError KVFOLD_PLAN_* when the plan is not valid, KVFOLD_ARGUMENT when the pieces do not fit it
 */
export function printPlan(plan: MergePlan, options: PrintPlanOptions = {}): string {
  checkPlanAlone(plan);
  const { pieces = null, color = false, lines = 40 } = options;
  const width = Math.max(LEAST_WIDTH, Math.floor(options.width ?? 80) || 80);
  if (pieces !== null && pieces.length !== plan.cells) {
    throw new KvfoldError("KVFOLD_ARGUMENT", `${pieces.length} pieces for ${plan.cells} cells`, {
      who: "print",
    });
  }
  const body =
    plan.layout === "shared"
      ? sharedBody(plan, pieces, width, color)
      : compositeBody(plan, pieces, width, color);
  const values = valueLines(plan).flatMap((line) => wrapWords(line, width));
  if (values.length > 0) body.push(["", ...values]);
  return [...statistics(plan, width, color), "", ...body.flatMap((part) => shorten(part, lines))].join("\n");
}

function sharedBody(
  plan: SharedPlan,
  pieces: readonly string[] | null,
  width: number,
  color: boolean,
): string[][] {
  const rows = Array.from(
    { length: plan.rows },
    (_, row): PictureRow => ({
      members: plan.members.subarray(plan.offsets[row]!, plan.offsets[row + 1]!),
      position: plan.positions[row]!,
    }),
  );
  return [wrap(picture(rows, plan.cells, pieces, plan.pins), width, color)];
}

function compositeBody(
  plan: Exclude<MergePlan, SharedPlan>,
  pieces: readonly string[] | null,
  width: number,
  color: boolean,
): string[][] {
  const density = densityLines(plan, width, color);
  if (pieces === null) return [density];
  const common = wrap(commonPicture(plan, pieces), width, color);
  const title = wrapWords("kept by most heads, with the old cell in front:", width);
  return [density, ["", ...title], common];
}

function statistics(plan: MergePlan, width: number, color: boolean): string[] {
  const ratio = (plan.cells / plan.rows).toFixed(2);
  const facts: [string, string][] = [
    ["rows", rowFacts(plan)],
    ["dropped", `${plan.dropped} of ${plan.dropped + sum(plan.counts)} tokens`],
    ["positions", `${plan.positions[0]}..${plan.positions[plan.rows - 1]}`],
    ["bias", biasFacts(plan.bias)],
    ["pins", pinFacts(plan.pins)],
  ];
  const values = valueFacts(plan);
  if (values !== null) facts.push(["values", values]);
  if (plan.layout === "shared")
    facts.push(["keys", `${plan.keyFrame} frame, ${plan.keyWeights.scope} weights`]);
  return [
    ...wrapWords(`${plan.layout} plan: ${plan.cells} cells -> ${plan.rows} rows, ${ratio}x`, width),
    ...facts.flatMap(([name, text]) => fact(name, text, width, color)),
  ];
}

/** A name in a column of its own, or before its text where the terminal is narrow. */
function fact(name: string, text: string, width: number, color: boolean): string[] {
  const label = name.padEnd(11);
  const fits = label.length + text.length <= width;
  return fits ? [paint(label, "note", color) + text] : wrapWords(`${name}: ${text}`, width);
}

function rowFacts(plan: MergePlan): string {
  if (plan.layout === "composite") {
    const heads = headsOfCells(plan);
    const groups = plan.layers * plan.kvHeads;
    const byAll = heads.filter((count) => count === groups).length;
    const byNone = heads.filter((count) => count === 0).length;
    return `cells kept by all heads ${byAll}, by some ${plan.cells - byAll - byNone}, by none ${byNone}`;
  }
  const sizes = plan.offsets.slice(1).map((end, row) => end - plan.offsets[row]!);
  const merged = sizes.filter((size) => size > 1);
  if (merged.length === 0) return `${plan.rows} kept, none merged`;
  const largest = merged.reduce((most, size) => Math.max(most, size), 0);
  const kept = plan.rows - merged.length;
  return `${kept} kept, ${merged.length} merged of ${sum(merged)} cells, at most ${largest}`;
}

const sum = (numbers: Uint32Array): number => numbers.reduce((total, value) => total + value, 0);

function biasFacts(bias: Float32Array | null): string {
  if (bias === null) return "none";
  const ends = [bias.reduce((a, b) => Math.min(a, b)), bias.reduce((a, b) => Math.max(a, b))];
  return ends.map((value) => value.toFixed(3)).join("..");
}

function pinFacts(pins: Uint8Array | null): string {
  const levels = Object.entries(PIN_LEVEL).filter(([, level]) => level !== PIN_LEVEL.none);
  const named = levels.map(
    ([name, level]) => [name, pins?.filter((pin) => pin === level).length ?? 0] as const,
  );
  return (
    named
      .filter(([, count]) => count > 0)
      .map(([name, count]) => `${count} ${name}`)
      .join(", ") || "none"
  );
}
