/** Finished cells of a grid: one strategy at one ratio on one window or trial, as a line of a result file. */
import { createHash } from "node:crypto";
import type { FitSummary } from "@kvfold/core";

/** What all cells of one table share. */
export interface CellGroup {
  readonly task: "kl" | "passkey";
  /** The model as it was named. */
  readonly model: string;
  /** Tokens of the context (kl), or of the whole prompt (passkey). */
  readonly tokens: number;
  /** What was read and asked: `text` and `window`, or `key` and `haystack`. */
  readonly labels: Readonly<Record<string, string | number>>;
  /** Everything else that a result depends on: model hash, cache type, seed. */
  readonly conditions: Readonly<Record<string, string | number | null>>;
}

/** What every result holds. */
export interface FoldFacts {
  readonly cellsBefore: number;
  readonly cellsAfter: number;
  readonly bytesFreed: number;
  readonly planMs: number;
  readonly foldMs: number;
  readonly fits: FitSummary | null;
  readonly note: string | null;
}

export interface KlResult extends FoldFacts {
  readonly meanKl: number;
  readonly top1: number;
  readonly fullNll: number;
  readonly foldedNll: number;
  /** After each token, to four digits. */
  readonly kl: readonly number[];
}

export interface PasskeyResult extends FoldFacts {
  /** In per cent. */
  readonly depth: number;
  readonly key: string;
  /** Whether the full cache knew the key. */
  readonly full: boolean;
  readonly folded: boolean;
  /** What was said after the fold. */
  readonly answer: string;
}

export interface Cell<Task extends CellGroup["task"], Result> extends CellGroup {
  readonly command: "eval-cell";
  readonly task: Task;
  readonly strategy: string;
  readonly ratio: number;
  /** Number of the window or trial. */
  readonly index: number;
  /** Hash of the tokens that were read and asked: cells with the same one can be compared as pairs. */
  readonly case: string;
  /** Hash of all that the result depends on. */
  readonly id: string;
  readonly result: Result;
}

export type KlCell = Cell<"kl", KlResult>;
export type PasskeyCell = Cell<"passkey", PasskeyResult>;
export type EvalCell = KlCell | PasskeyCell;

/** Grows when the meaning of a result changes, so that older ones are not taken for newer ones. */
const VERSION = 1;
const HASH_DIGITS = 20;

/** What names a cell. Where a file lies is not part of it: its content is in the hash of the case. */
export interface CellKey {
  readonly task: CellGroup["task"];
  readonly conditions: CellGroup["conditions"];
  readonly case: string;
  /** Names the strategy with all that it does; its expression, where nothing more is known. */
  readonly strategy: string;
  readonly ratio: number;
}

export function cellId(key: CellKey): string {
  const conditions = Object.entries(key.conditions).sort(([a], [b]) => (a < b ? -1 : 1));
  return shortHash(JSON.stringify([VERSION, key.task, conditions, key.case, key.strategy, key.ratio]));
}

/** Hash of what a model reads and is asked; lists are told apart. */
export function caseHash(...lists: readonly Int32Array[]): string {
  return shortHash(JSON.stringify(lists.map((list) => Array.from(list))));
}

/** A hash of all cells that went into a row of a table. */
export const rowId = (cells: readonly EvalCell[]): string =>
  shortHash(JSON.stringify(cells.map((cell) => cell.id).sort()));

/** Cells with the same text belong in one table. */
export function groupKey({ task, model, tokens, labels, conditions }: CellGroup): string {
  return JSON.stringify([task, model, tokens, labels, conditions]);
}

/** In the order of their first cells. */
export function groupCells<One extends CellGroup>(
  cells: readonly One[],
  keyOf: (cell: One) => string = groupKey,
): One[][] {
  const groups = new Map<string, One[]>();
  for (const cell of cells) {
    const key = keyOf(cell);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [cell]);
    else group.push(cell);
  }
  return [...groups.values()];
}

function shortHash(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, HASH_DIGITS);
}
