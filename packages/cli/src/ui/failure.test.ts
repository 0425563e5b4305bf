/** Every failure has a code, a hint where there is one, and the right exit code. */
import { ERROR_CODES, KvfoldError, type KvfoldErrorCode } from "@kvfold/core";
import { CommanderError } from "commander";
import { describe, expect, test } from "vitest";
import { describeFailure, failureAsJson, failureAsText } from "./failure.js";

describe("exit codes", () => {
  const usage = [
    "KVFOLD_ARGUMENT",
    "KVFOLD_RATIO",
    "KVFOLD_BUDGET",
    "KVFOLD_UNKNOWN_OPTION",
    "KVFOLD_UNKNOWN_STRATEGY",
    "KVFOLD_EXPRESSION",
    "KVFOLD_MODULE",
  ];
  test.each(Object.keys(ERROR_CODES) as KvfoldErrorCode[])("%s", (code) => {
    const expected = code === "KVFOLD_ABORTED" ? 130 : usage.includes(code) ? 2 : 1;
    expect(describeFailure(new KvfoldError(code, "what")).exitCode).toBe(expected);
  });
  test("a word that commander refuses is bad usage", () => {
    const error = new CommanderError(
      1,
      "commander.unknownOption",
      "error: unknown option '--x'\n(Did you mean --y?)",
    );
    expect(describeFailure(error)).toMatchObject({
      exitCode: 2,
      code: "KVFOLD_ARGUMENT",
      message: "unknown option '--x'",
      hint: "Did you mean --y?",
    });
  });
  test.each([new TypeError("x is not a function"), "a string", undefined])(
    "anything else is a defect",
    (thrown) => {
      expect(describeFailure(thrown)).toMatchObject({ exitCode: 1, code: "KVFOLD_INTERNAL" });
    },
  );
});

describe("printing", () => {
  const failure = describeFailure(
    new KvfoldError("KVFOLD_EXPRESSION", "expected a name\n  mean(\n       ^", {
      who: "expression",
      hint: "close it",
    }),
  );
  test("JSON is one line with code, message and hint", () => {
    const line = failureAsJson(failure);
    expect(line).not.toContain("\n");
    expect(Object.keys(JSON.parse(line).error)).toEqual(["code", "message", "hint"]);
  });
  test("text keeps a caret in its column and hides the stack", () => {
    const text = failureAsText(failure, false);
    expect(text).toContain("\n  mean(\n       ^\n");
    expect(text).toContain("close it");
    expect(text).not.toMatch(/^\s+at /m);
  });
  test("the stack comes when asked for", () => {
    expect(failureAsText(failure, true)).toMatch(/^\s+at /m);
  });
});
