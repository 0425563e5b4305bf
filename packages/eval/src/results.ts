/**
 * Result files: JSON, one object a line. Finished cells are kept as they come, so that an interrupted grid goes on where
 * it stopped; the rows of the tables stand between them.
 *
 *     {"command":"eval-cell","task":"kl","strategy":"mean","ratio":4,"index":0,"id":"…","result":{…}}
 *     {"command":"eval-cell","task":"kl","strategy":"mean","ratio":4,"index":1,"id":"…","result":{…}}
 *     {"command":"eval","task":"kl","strategy":"mean","ratio":4,"windows":2,"kl":{…},"id":"…"}
 */
import { appendFileSync, closeSync, fstatSync, ftruncateSync, openSync, readFileSync } from "node:fs";
import { KvfoldError } from "@kvfold/core";
import { claimsCell, isCell } from "./cell-check.js";
import type { EvalCell } from "./cells.js";

export interface Results {
  /** Finished cells by id, in the order of the file. */
  readonly cells: ReadonlyMap<string, EvalCell>;
  /** Keeps a cell, in the file too when there is one; a second one with the same id is ignored. */
  add(cell: EvalCell): void;
  /** Keeps a row in the file, unless it is there. */
  addRow(row: { readonly id: string }): void;
  close(): void;
}

/** Larger files were not written by this package. */
const LARGEST_FILE = 256 * 2 ** 20;
/** How every line begins that this package writes. */
const LINE_START = '{"command":"eval';

/**
 * Opens a file for more results, or makes it. A last line that an interruption cut is taken out; all others stay as
 * they are. Every line is written at once.
 *
 * @param path undefined: results are kept in memory only
 * @throws KvfoldError KVFOLD_FILE when the file cannot be used or holds something else
 */
export function openResults(path?: string): Results {
  if (path === undefined)
    return resultsOf(
      emptyContent(),
      () => {},
      () => {},
    );
  const file = guarded(path, "cannot be opened for writing", () => openSync(path, "a+"));
  try {
    const { content, whole, open } = readContent(path, file);
    guarded(path, "cannot be written", () => {
      ftruncateSync(file, whole);
      if (open) appendFileSync(file, "\n");
    });
    const write = (line: string): void =>
      guarded(path, "cannot be written", () => appendFileSync(file, `${line}\n`));
    return resultsOf(content, write, () => closeSync(file));
  } catch (error) {
    closeSync(file);
    throw error;
  }
}

/**
 * The cells of a file, which is not changed.
 * @throws KvfoldError KVFOLD_FILE
 */
export function readCells(path: string): EvalCell[] {
  const file = guarded(path, "cannot be opened", () => openSync(path, "r"));
  try {
    return [...readContent(path, file).content.cells.values()];
  } finally {
    closeSync(file);
  }
}

// ---------------------------------------------------------------------------------------------------------------

interface Content {
  readonly cells: Map<string, EvalCell>;
  readonly rows: Set<string>;
}

const emptyContent = (): Content => ({ cells: new Map(), rows: new Set() });

function resultsOf({ cells, rows }: Content, write: (line: string) => void, close: () => void): Results {
  return {
    cells,
    add: (cell) => {
      if (cells.has(cell.id)) return;
      write(JSON.stringify(cell));
      cells.set(cell.id, cell);
    },
    addRow: (row) => {
      if (rows.has(row.id)) return;
      write(JSON.stringify(row));
      rows.add(row.id);
    },
    close,
  };
}

interface Read {
  readonly content: Content;
  /** Bytes of the lines that are whole. */
  readonly whole: number;
  /** The last line is whole but for its end. */
  readonly open: boolean;
}

function readContent(path: string, file: number): Read {
  const facts = fstatSync(file);
  if (!facts.isFile()) throw fileError(path, "is not a file");
  if (facts.size > LARGEST_FILE) throw fileError(path, `has ${facts.size} bytes, more than ${LARGEST_FILE}`);
  const bytes = guarded(path, "cannot be read", () => readFileSync(file));
  const ended = bytes.lastIndexOf(0x0a) + 1;
  const content = emptyContent();
  const lines = bytes.toString("utf8", 0, ended).split("\n").slice(0, -1);
  for (const [index, line] of lines.entries()) {
    if (line.trim() !== "") keep(content, path, index + 1, parseLine(path, index + 1, line));
  }
  const rest = bytes.toString("utf8", ended);
  const last = parse(rest);
  if (last === undefined) {
    if (!isCut(rest)) throw fileError(path, `is damaged: line ${lines.length + 1} is not a JSON object`);
    return { content, whole: ended, open: false };
  }
  keep(content, path, lines.length + 1, last);
  return { content, whole: bytes.length, open: true };
}

/** True for the beginning of a line of ours, and for nothing; what is somebody else's is never taken out. */
const isCut = (rest: string): boolean => rest.startsWith(LINE_START) || LINE_START.startsWith(rest);

function parseLine(path: string, number: number, line: string): unknown {
  const value = parse(line);
  if (value === undefined) throw fileError(path, `is damaged: line ${number} is not a JSON object`);
  return value;
}

/** undefined: not an object. */
function parse(line: string): object | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Lines of other commands stay in the file and are passed over. */
function keep({ cells, rows }: Content, path: string, number: number, value: unknown): void {
  if (claimsCell(value)) {
    if (!isCell(value)) throw fileError(path, `is damaged: line ${number} is not a whole result`);
    if (!cells.has(value.id)) cells.set(value.id, value);
    return;
  }
  const { command, id } = value as { command?: unknown; id?: unknown };
  if (command === "eval" && typeof id === "string") rows.add(id);
}

function guarded<T>(path: string, what: string, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    throw fileError(path, `${what}: ${(cause as Error).message}`, cause);
  }
}

function fileError(path: string, what: string, cause?: unknown): KvfoldError {
  return new KvfoldError("KVFOLD_FILE", `the result file ${JSON.stringify(path)} ${what}`, {
    hint: "give a file that kvfold eval wrote, or one that does not exist yet",
    ...(cause === undefined ? {} : { cause }),
  });
}
