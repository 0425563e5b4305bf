/** For all expressions: printing and reading again changes nothing; for all texts: nothing but a KvfoldError. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { KvfoldError } from "../errors.js";
import type { Call, Expression, ExpressionValue } from "./ast.js";
import { parseExpression } from "./parse.js";
import { printExpression } from "./print.js";

const SEED = 20240301;

const word = fc
  .stringMatching(/^[a-z_][a-z0-9_-]{0,8}$/)
  .filter((text) => text !== "true" && text !== "false");
const text = fc.string({ unit: "binary", maxLength: 12 });
const number = fc.oneof(fc.double({ noNaN: true, noDefaultInfinity: true }), fc.integer());

const { call } = fc.letrec<{ value: ExpressionValue; call: Call; list: ExpressionValue[] }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3, depthSize: "small" },
    number,
    fc.boolean(),
    text,
    word,
    tie("list"),
    tie("call"),
  ),
  list: fc.array(tie("value"), { maxLength: 3 }),
  call: fc.record({
    name: fc.oneof(word, text),
    arguments: fc.uniqueArray(fc.record({ name: fc.oneof(word, fc.constant(null)), value: tie("value") }), {
      maxLength: 3,
      comparator: (a, b) => a.name !== null && a.name === b.name,
    }),
  }),
}));

const expression: fc.Arbitrary<Expression> = fc.record({
  wrappers: fc.array(call, { maxLength: 3 }),
  strategy: call,
});

it("reads what it prints", () => {
  fc.assert(
    fc.property(expression, (made) => {
      const printed = printExpression(made);
      fc.pre(printed.length <= 4096);
      expect(parseExpression(printed)).toEqual(made);
    }),
    { seed: SEED, numRuns: 2000 },
  );
});

const pieces = fc.constantFrom(
  "evict",
  "(",
  ")",
  "[",
  "]",
  ",",
  "=",
  ">",
  '"',
  "'",
  "\\",
  " ",
  "1",
  "-",
  ".",
  "e9",
  "é",
  "\n",
);
const garbage = fc.oneof(
  fc.string({ unit: "binary", maxLength: 60 }),
  fc.array(pieces, { maxLength: 30 }).map((parts) => parts.join("")),
);

it("answers any text with an expression or a KvfoldError", () => {
  let read = 0;
  fc.assert(
    fc.property(garbage, (any) => {
      try {
        const once = parseExpression(any);
        read += 1;
        expect(parseExpression(printExpression(once))).toEqual(once);
      } catch (error) {
        expect(error).toBeInstanceOf(KvfoldError);
        expect((error as KvfoldError).code).toBe("KVFOLD_EXPRESSION");
      }
    }),
    { seed: SEED, numRuns: 5000 },
  );
  // the generator is worth nothing when it never makes a readable text
  expect(read).toBeGreaterThan(50);
});
