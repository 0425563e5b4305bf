/** Cuts the text of an expression into tokens, and points at the place where it went wrong. */
import { KvfoldError } from "../errors.js";
import { EXPRESSION_LIMITS } from "./ast.js";
import { NUMBER, WORD, WORD_CHARACTER } from "./print.js";

/** `at` is where the token starts, in UTF-16 units. */
export type Token =
  | { readonly kind: "word" | "string"; readonly at: number; readonly text: string }
  | { readonly kind: "number"; readonly at: number; readonly value: number }
  | { readonly kind: "boolean"; readonly at: number; readonly value: boolean }
  | { readonly kind: "mark"; readonly at: number; readonly text: string }
  | { readonly kind: "end"; readonly at: number };

const MARKS = "()[],=>";

/** @throws KvfoldError KVFOLD_EXPRESSION */
export function tokenize(text: string): Token[] {
  if (text.length > EXPRESSION_LIMITS.length) {
    throw expressionError(
      text,
      EXPRESSION_LIMITS.length,
      `an end: at most ${EXPRESSION_LIMITS.length} characters`,
    );
  }
  const tokens: Token[] = [];
  let at = 0;
  while (at < text.length) {
    const first = text[at]!;
    if (/\s/u.test(first)) at += 1;
    else if (MARKS.includes(first)) {
      tokens.push({ kind: "mark", at, text: first });
      at += 1;
    } else {
      const [token, end] = first === '"' || first === "'" ? readString(text, at) : readWord(text, at);
      tokens.push(token);
      at = end;
    }
  }
  tokens.push({ kind: "end", at: text.length });
  return tokens;
}

/** How a token is called in a message. */
export function describeToken(token: Token): string {
  if (token.kind === "end") return "the end";
  if (token.kind === "number" || token.kind === "boolean") return String(token.value);
  return token.kind === "string" ? "a quoted text" : `"${token.text}"`;
}

/** Characters shown on either side of the place. */
const EXCERPT = 60;

/**
 *     expected "," or ")" at column 14, got "x"
 *         evict(by=key x)
 *                      ^
 */
export function expressionError(text: string, at: number, expected: string, got?: string): KvfoldError {
  const from = at > EXCERPT ? at - EXCERPT : 0;
  const flat = (part: string): string => part.replace(/[\p{C}\p{Z}]/gu, " ");
  const before = (from > 0 ? "…" : "") + flat(text.slice(from, at));
  const after = flat(text.slice(at, at + EXCERPT)) + (text.length > at + EXCERPT ? "…" : "");
  const place = `at column ${[...text.slice(0, at)].length + 1}${got === undefined ? "" : `, got ${got}`}`;
  const caret = `${" ".repeat([...before].length)}^`;
  return new KvfoldError(
    "KVFOLD_EXPRESSION",
    `expected ${expected} ${place}\n    ${before}${after}\n    ${caret}`,
    {
      who: "expression",
    },
  );
}

// ---------------------------------------------------------------------------------------------------------------

function readWord(text: string, at: number): [Token, number] {
  let end = at;
  while (end < text.length) {
    const character = String.fromCodePoint(text.codePointAt(end)!);
    if (!WORD_CHARACTER.test(character)) break;
    end += character.length;
  }
  const run = text.slice(at, end);
  if (run === "")
    throw expressionError(text, at, "a name, a value or one of ( ) [ ] , = >", "a strange character");
  if (run === "true" || run === "false") return [{ kind: "boolean", at, value: run === "true" }, end];
  if (NUMBER.test(run)) {
    const value = Number(run);
    if (!Number.isFinite(value)) throw expressionError(text, at, "a smaller number", run);
    return [{ kind: "number", at, value }, end];
  }
  if (!WORD.test(run)) throw expressionError(text, at, "a number or a name (quote other text)", `"${run}"`);
  return [{ kind: "word", at, text: run }, end];
}

const ESCAPES: Readonly<Record<string, string>> = {
  '"': '"',
  "'": "'",
  "\\": "\\",
  "/": "/",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
};

function readString(text: string, at: number): [Token, number] {
  const quote = text[at]!;
  let value = "";
  let i = at + 1;
  while (i < text.length) {
    const unit = text[i]!;
    if (unit === quote) return [{ kind: "string", at, text: value }, i + 1];
    if (unit !== "\\") {
      value += unit;
      i += 1;
      continue;
    }
    const hex = /^u([0-9a-fA-F]{4})/.exec(text.slice(i + 1, i + 6))?.[1];
    const letter = hex === undefined ? text[i + 1] : undefined;
    if (hex !== undefined) value += String.fromCharCode(Number.parseInt(hex, 16));
    else if (letter !== undefined && Object.hasOwn(ESCAPES, letter)) value += ESCAPES[letter]!;
    else throw expressionError(text, i, "an escape such as \\\\ or \\n (write paths with /)");
    i += hex === undefined ? 2 : 6;
  }
  throw expressionError(
    text,
    text.length,
    `the closing ${quote} of the text that starts at column ${at + 1}`,
    "the end",
  );
}
