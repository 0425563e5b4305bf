/** Writes an expression in its canonical form; what the parser reads back to the same data. */
import { KvfoldError } from "../errors.js";
import type { Argument, Call, Expression, ExpressionValue } from "./ast.js";

/** Characters that may stand in a word without quotes. */
export const WORD_CHARACTER: RegExp = /[\p{L}\p{N}_./~@:+-]/u;

/** A word cannot start with a digit, a sign or a colon. */
export const WORD: RegExp = /^[\p{L}_./~@][\p{L}\p{N}_./~@:+-]*$/u;

/** Numbers as JavaScript writes them, and `.5` and `5.` besides. */
export const NUMBER: RegExp = /^-?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

/** True when the text reads as itself without quotes. */
export function isBareWord(text: string): boolean {
  return WORD.test(text) && !NUMBER.test(text) && text !== "true" && text !== "false";
}

/** A string in double quotes, with the escapes of JSON. */
export function printString(text: string): string {
  return JSON.stringify(text);
}

/**
 * @throws KvfoldError KVFOLD_ARGUMENT for a number that is not finite
 * @example
 * printExpression({ wrappers: [], strategy: { name: "mean", arguments: [] } }); // "mean"
 */
export function printExpression(expression: Expression): string {
  return [...expression.wrappers, expression.strategy].map(printStage).join(" > ");
}

// ---------------------------------------------------------------------------------------------------------------

/** A stage without arguments needs no brackets; a value does, or it would be a word. */
function printStage(call: Call): string {
  return call.arguments.length === 0 ? printWord(call.name) : printCall(call);
}

function printCall(call: Call): string {
  return `${printWord(call.name)}(${call.arguments.map(printArgument).join(",")})`;
}

function printArgument(argument: Argument): string {
  const value = printValue(argument.value);
  return argument.name === null ? value : `${argument.name}=${value}`;
}

function printValue(value: ExpressionValue): string {
  if (typeof value === "number") return printNumber(value);
  if (typeof value === "boolean") return String(value);
  if (typeof value === "string") return printWord(value);
  return isList(value) ? `[${value.map(printValue).join(",")}]` : printCall(value);
}

const printWord = (text: string): string => (isBareWord(text) ? text : printString(text));

/** The same number, sign of zero included. */
export function printNumber(value: number): string {
  if (Number.isFinite(value)) return Object.is(value, -0) ? "-0" : String(value);
  throw new KvfoldError("KVFOLD_ARGUMENT", `${value} cannot stand in an expression`, {
    hint: "use a finite number",
  });
}

/** `Array.isArray` does not narrow readonly arrays. */
export function isList(value: ExpressionValue): value is readonly ExpressionValue[] {
  return Array.isArray(value);
}
