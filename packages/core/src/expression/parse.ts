/**
 * Reads strategy expressions. The whole grammar:
 *
 *     expression = call { ">" call }              wrappers from the outside in, the strategy last
 *     call       = name [ "(" [ argument { "," argument } ] ")" ]
 *     argument   = [ word "=" ] value
 *     value      = number | boolean | word | string | list | name "(" ... ")"
 *     list       = "[" [ value { "," value } ] "]"
 *     name       = word | string
 */
import type { Argument, Call, Expression, ExpressionValue } from "./ast.js";
import { EXPRESSION_LIMITS } from "./ast.js";
import { describeToken, expressionError, type Token, tokenize } from "./tokens.js";

/**
 * @throws KvfoldError KVFOLD_EXPRESSION with the text, a caret under the place, and what was expected there
 * @example
 * parseExpression("pin(sinks=8) > mean").wrappers[0]?.name; // "pin"
 */
export function parseExpression(text: string): Expression {
  const reader = createReader(text);
  const calls = [readStage(reader)];
  while (reader.accept(">")) {
    if (calls.length === EXPRESSION_LIMITS.stages) reader.fail(`at most ${EXPRESSION_LIMITS.stages} stages`);
    calls.push(readStage(reader));
  }
  if (reader.peek().kind !== "end") reader.fail('"(", ">" or the end');
  return { wrappers: calls.slice(0, -1), strategy: calls.at(-1)! };
}

// ---------------------------------------------------------------------------------------------------------------

interface Reader {
  peek(ahead?: number): Token;
  next(): Token;
  /** Takes the mark when it comes next. */
  accept(mark: string): boolean;
  fail(expected: string): never;
}

function createReader(text: string): Reader {
  const tokens = tokenize(text);
  let index = 0;
  const peek = (ahead = 0): Token => tokens[Math.min(index + ahead, tokens.length - 1)]!;
  return {
    peek,
    next: () => {
      const token = peek();
      index += 1;
      return token;
    },
    accept: (mark) => {
      const found = isMark(peek(), mark);
      if (found) index += 1;
      return found;
    },
    fail: (expected) => {
      throw expressionError(text, peek().at, expected, describeToken(peek()));
    },
  };
}

const isMark = (token: Token, mark: string): boolean => token.kind === "mark" && token.text === mark;

function readStage(reader: Reader): Call {
  const token = reader.peek();
  if (token.kind !== "word" && token.kind !== "string")
    return reader.fail("the name of a strategy or a wrapper");
  reader.next();
  return { name: token.text, arguments: isMark(reader.peek(), "(") ? readArguments(reader, 1) : [] };
}

function readArguments(reader: Reader, depth: number): Argument[] {
  enter(reader, depth);
  const found: Argument[] = [];
  if (reader.accept(")")) return found;
  do {
    const token = reader.peek();
    const name = token.kind === "word" && isMark(reader.peek(1), "=") ? token.text : null;
    if (name !== null) {
      if (found.some((argument) => argument.name === name)) reader.fail(`${name} only once`);
      reader.next();
      reader.next();
    }
    found.push({ name, value: readValue(reader, depth) });
  } while (reader.accept(","));
  if (!reader.accept(")")) reader.fail('"," or ")"');
  return found;
}

function readValue(reader: Reader, depth: number): ExpressionValue {
  const token = reader.peek();
  if (isMark(token, "[")) return readList(reader, depth + 1);
  if (token.kind === "mark" || token.kind === "end") return reader.fail("a value");
  reader.next();
  if (token.kind === "number" || token.kind === "boolean") return token.value;
  if (!isMark(reader.peek(), "(")) return token.text;
  return { name: token.text, arguments: readArguments(reader, depth + 1) };
}

function readList(reader: Reader, depth: number): ExpressionValue[] {
  enter(reader, depth);
  const items: ExpressionValue[] = [];
  if (reader.accept("]")) return items;
  do items.push(readValue(reader, depth));
  while (reader.accept(","));
  if (!reader.accept("]")) reader.fail('"," or "]"');
  return items;
}

/** Takes the opening bracket. */
function enter(reader: Reader, depth: number): void {
  if (depth > EXPRESSION_LIMITS.depth)
    reader.fail(`at most ${EXPRESSION_LIMITS.depth} brackets inside each other`);
  reader.next();
}
