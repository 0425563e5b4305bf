/** The picture of which tokens went where: `a [bc] d (3 dropped) e`. */
import { PIN_LEVEL } from "./plan.js";
import { cut, type Item, visible } from "./print-text.js";

/** A row as the picture shows it. */
export interface PictureRow {
  /** Old cells, as the plan lists them. */
  readonly members: ArrayLike<number>;
  readonly position: number;
}

/** Rows shown at either end of a run of rows of one kind. */
const RUN_ENDS = 4;
/** Members shown of one row. */
const SHOWN_MEMBERS = 6;
const PIECE_COLUMNS = 24;

/**
 * Items in the order of the rows, with what was dropped between them. Long runs of kept or of merged rows are
 * abbreviated to their ends.
 *
 * @param rows their members are no cell's twice
 * @param pieces text of each old cell, or null: cells are shown by their index
 * @param pins level of each old cell, or null
 */
export function picture(
  rows: readonly PictureRow[],
  cells: number,
  pieces: readonly string[] | null,
  pins: Uint8Array | null,
): Item[] {
  const droppedBefore = countDropped(rows, cells);
  const items: Item[] = [];
  let run: Item[] = [];
  const endRun = (): void => {
    items.push(...abbreviate(run));
    run = [];
  };
  let cursor = 0;
  const showDropped = (until: number): void => {
    const dropped = until > cursor ? droppedBefore[until]! - droppedBefore[cursor]! : 0;
    if (dropped === 0) return;
    endRun();
    items.push({ text: `(${dropped} dropped)`, style: "note", position: null });
  };
  for (const row of rows) {
    const first = smallest(row.members);
    showDropped(first);
    cursor = Math.max(cursor, first + 1);
    const item = rowItem(row, pieces, pins);
    if (run[0] !== undefined && run[0].style !== item.style) endRun();
    run.push(item);
  }
  showDropped(cells);
  endRun();
  return items;
}

function smallest(members: ArrayLike<number>): number {
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < members.length; i++) least = Math.min(least, members[i]!);
  return least;
}

/** How many cells before each cell are in no row. [cells + 1] */
function countDropped(rows: readonly PictureRow[], cells: number): Uint32Array {
  const used = new Uint8Array(cells);
  for (const { members } of rows) for (let i = 0; i < members.length; i++) used[members[i]!] = 1;
  const before = new Uint32Array(cells + 1);
  for (let cell = 0; cell < cells; cell++) before[cell + 1] = before[cell]! + 1 - used[cell]!;
  return before;
}

function rowItem(row: PictureRow, pieces: readonly string[] | null, pins: Uint8Array | null): Item {
  const { members, position } = row;
  const name = (cell: number): string =>
    pieces === null ? String(cell) : cut(visible(pieces[cell]!), PIECE_COLUMNS);
  if (members.length === 1) {
    const pinned = pins !== null && pins[members[0]!] !== PIN_LEVEL.none;
    return { text: name(members[0]!), style: pinned ? "pinned" : "kept", position };
  }
  let text = name(members[0]!);
  const shown = Math.min(members.length, SHOWN_MEMBERS);
  for (let i = 1; i < shown; i++) {
    const adjacent = members[i] === members[i - 1]! + 1;
    text += (adjacent ? (pieces === null ? " " : "") : "+") + name(members[i]!);
  }
  if (shown < members.length) text += `\u2026${members.length - shown} more`;
  return { text: `[${text}]`, style: "merged", position };
}

/** A run of rows of one kind, cut to its ends when it is long. */
function abbreviate(run: readonly Item[]): Item[] {
  const hidden = run.length - 2 * RUN_ENDS;
  const [first] = run;
  if (first === undefined || hidden < RUN_ENDS) return [...run];
  const text = `(${hidden} more ${first.style})`;
  return [
    ...run.slice(0, RUN_ENDS),
    { text, style: "note", position: null },
    ...run.slice(run.length - RUN_ENDS),
  ];
}
