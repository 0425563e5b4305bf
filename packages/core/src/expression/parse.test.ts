/** What expressions mean, and what is said about broken ones. */
import { describe, expect, it } from "vitest";
import { KvfoldError } from "../errors.js";
import { EXPRESSION_LIMITS } from "./ast.js";
import { parseExpression } from "./parse.js";
import { printExpression } from "./print.js";

const call = (name: string, ...given: [string | null, unknown][]) => ({
  name,
  arguments: given.map(([argument, value]) => ({ name: argument, value })),
});

describe("parseExpression", () => {
  it("reads a name alone", () => {
    expect(parseExpression(" mean ")).toEqual({ wrappers: [], strategy: call("mean") });
    expect(parseExpression("mean()")).toEqual({ wrappers: [], strategy: call("mean") });
  });

  it("reads wrappers from the outside in", () => {
    expect(parseExpression("pin(sinks=4,recent=128) > self-extend > ngram-pairs(list=en.json)")).toEqual({
      wrappers: [call("pin", ["sinks", 4], ["recent", 128]), call("self-extend")],
      strategy: call("ngram-pairs", ["list", "en.json"]),
    });
  });

  it("reads every kind of value", () => {
    const text = String.raw`s(a=-1.5e3, b=true, c=[1,[],x], d='it\'s"', e="a\n\u00e9", f=max(keydiff,surprise()), g=.5)`;
    expect(parseExpression(text).strategy).toEqual(
      call(
        "s",
        ["a", -1500],
        ["b", true],
        ["c", [1, [], "x"]],
        ["d", "it's\""],
        ["e", "a\né"],
        ["f", call("max", [null, "keydiff"], [null, call("surprise")])],
        ["g", 0.5],
      ),
    );
  });

  it("reads paths as words and, quoted, as names", () => {
    expect(parseExpression("pin > ./my.mjs(a=1)").strategy).toEqual(call("./my.mjs", ["a", 1]));
    expect(parseExpression('"../my folder/x (1).mjs"').strategy).toEqual(call("../my folder/x (1).mjs"));
    expect(parseExpression("f(list=C:/x/en-2.json)").strategy).toEqual(call("f", ["list", "C:/x/en-2.json"]));
  });

  it("keeps option names that JavaScript treats specially as plain names", () => {
    const [argument] = parseExpression("f(__proto__=1)").strategy.arguments;
    expect(argument).toEqual({ name: "__proto__", value: 1 });
  });
});

const broken: readonly [text: string, message: string, column: number][] = [
  ["", "the name of a strategy or a wrapper", 1],
  ["   ", "the name of a strategy or a wrapper", 4],
  ["5", "the name of a strategy or a wrapper", 1],
  ["pin >", "the name of a strategy or a wrapper", 6],
  ["> mean", "the name of a strategy or a wrapper", 1],
  ["mean mean", '"(", ">" or the end', 6],
  ["mean)", '"(", ">" or the end', 5],
  ["evict(by=key diff)", '"," or ")"', 14],
  ["evict(by=)", "a value", 10],
  ["evict(by=keydiff", '"," or ")"', 17],
  ["evict(a=1,)", "a value", 11],
  ["evict(a=[1,2)", '"," or "]"', 13],
  ["evict(a=1,a=2)", "a only once", 11],
  ["evict(a='x)", "the closing '", 12],
  ['evict(a="C:\\x")', "an escape", 12],
  ["evict(a=2x)", "a number or a name", 9],
  ["evict(a=1e999)", "a smaller number", 9],
  ["evict{a}", "a name, a value or one of", 6],
  ["é😀(", "a name, a value or one of", 2],
  ['"😀😀" x', '"(", ">" or the end', 6],
];

describe("a broken expression", () => {
  it.each(broken)("%j: expected %s at column %i", (text, message, column) => {
    let error: unknown;
    try {
      parseExpression(text);
    } catch (caught) {
      error = caught;
    }
    expect(error).toBeInstanceOf(KvfoldError);
    const { code, what } = error as KvfoldError;
    expect(code).toBe("KVFOLD_EXPRESSION");
    expect(what).toContain(`expected ${message}`);
    expect(what).toContain(`at column ${column}`);
    const [, excerpt = "", caret = ""] = what.split("\n");
    expect(excerpt).toContain(text.trimEnd());
    // four blanks of indentation, then one column a character
    expect(caret).toBe(`${" ".repeat(4 + column - 1)}^`);
  });

  it("is shown in part when it is long, with the caret in place", () => {
    const text = `f(b=[${"1,".repeat(300)}])`;
    expect(() => parseExpression(text)).toThrow(/…1,1,.*\n +\^$/s);
  });

  it("has limits", () => {
    const { length, depth, stages } = EXPRESSION_LIMITS;
    expect(() => parseExpression("x".repeat(length + 1))).toThrow(/at most 4096 characters/);
    expect(() => parseExpression("x".repeat(length))).not.toThrow();
    const nested = (levels: number) => `f(a=${"[".repeat(levels)}${"]".repeat(levels)})`;
    expect(() => parseExpression(nested(depth - 1))).not.toThrow();
    expect(() => parseExpression(nested(depth))).toThrow(/at most 16 brackets/);
    expect(() => parseExpression(Array(stages).fill("a").join(">"))).not.toThrow();
    expect(() =>
      parseExpression(
        Array(stages + 1)
          .fill("a")
          .join(">"),
      ),
    ).toThrow(/at most 32 stages/);
  });
});

describe("printExpression", () => {
  it.each([
    "mean",
    "pin(sinks=8) > self-extend(factor=2,window=64) > mean",
    "evict(by=max(keydiff,surprise()),per=head)",
    's(a=[1,-0,true,"1","true",".5",.x,"a b",[]],b="")',
  ])("gives back the canonical text %s", (text) => {
    expect(printExpression(parseExpression(text))).toBe(text);
  });

  it("refuses numbers that are not finite", () => {
    const strategy = { name: "s", arguments: [{ name: "a", value: Number.NaN }] };
    expect(() => printExpression({ wrappers: [], strategy })).toThrow(/NaN cannot stand in an expression/);
  });
});
