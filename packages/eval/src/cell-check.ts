/** Tells lines that this package wrote from anything else that a result file may hold. */
import type { EvalCell } from "./cells.js";

type Fields = Readonly<Record<string, unknown>>;
type Check = (value: unknown) => boolean;

const isText: Check = (value) => typeof value === "string";
const isNumber: Check = (value) => typeof value === "number" && Number.isFinite(value);
const isCount: Check = (value) => Number.isSafeInteger(value) && (value as number) >= 0;
const isFlag: Check = (value) => typeof value === "boolean";
const isObject = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const orNull =
  (check: Check): Check =>
  (value) =>
    value === null || check(value);
const recordOf =
  (check: Check): Check =>
  (value) =>
    isObject(value) && Object.values(value).every(check);
const isScalar: Check = (value) => value === null || isText(value) || isNumber(value);

const FITS = { heads: isCount, accepted: isCount, before: isNumber, after: isNumber };
const FACTS = {
  cellsBefore: isCount,
  cellsAfter: isCount,
  bytesFreed: isCount,
  planMs: isNumber,
  foldMs: isNumber,
  fits: orNull((value) => has(value, FITS)),
  note: orNull(isText),
};
const RESULTS: Readonly<Record<string, Readonly<Record<string, Check>>>> = {
  kl: {
    ...FACTS,
    meanKl: isNumber,
    top1: isNumber,
    fullNll: isNumber,
    foldedNll: isNumber,
    kl: (value) => Array.isArray(value) && value.length > 0 && value.every(isNumber),
  },
  passkey: { ...FACTS, depth: isNumber, key: isText, full: isFlag, folded: isFlag, answer: isText },
};
const CELL = {
  model: isText,
  strategy: isText,
  ratio: isNumber,
  tokens: isCount,
  labels: recordOf(isScalar),
  conditions: recordOf(isScalar),
  index: isCount,
  case: isText,
  id: isText,
};

/** True for a line that calls itself a cell; `isCell` says whether it is one. */
export const claimsCell = (line: unknown): boolean => isObject(line) && line.command === "eval-cell";

export function isCell(line: unknown): line is EvalCell {
  if (!isObject(line) || !isText(line.task)) return false;
  const task = line.task as string;
  return Object.hasOwn(RESULTS, task) && has(line, CELL) && has(line.result, RESULTS[task]!);
}

function has(value: unknown, checks: Readonly<Record<string, Check>>): boolean {
  if (!isObject(value)) return false;
  return Object.entries(checks).every(([name, check]) => Object.hasOwn(value, name) && check(value[name]));
}
