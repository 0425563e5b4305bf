/** The error type, and that the document of codes is complete. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { codeOf } from "../test/small-cache.js";
import { ERROR_CODES, isKvfoldError, KvfoldError, throwIfAborted } from "./errors.js";

const document = readFileSync(join(import.meta.dirname, "../../../docs/errors.md"), "utf8");
const entries = document.split(/^### /m).slice(1);

describe("docs/errors.md", () => {
  it("explains every code once, and no other", () => {
    const codes = entries.map((entry) => entry.split("\n", 1)[0]);
    expect([...codes].sort()).toEqual(Object.keys(ERROR_CODES).sort());
  });

  it("says of each what happened and what to do", () => {
    const incomplete = entries.filter((entry) => !/^\w+\n\n[\w`][\s\S]{30,}\n\n\*\*Do:\*\* \S/.test(entry));
    expect(incomplete).toEqual([]);
  });
});

describe("KvfoldError", () => {
  it("says who, what and what to do", () => {
    const cause = new Error("below");
    const error = new KvfoldError("KVFOLD_FILE", "cannot read x", { who: "codec", hint: "check x", cause });
    expect(error.message).toBe("[kvfold] [codec] cannot read x; check x");
    expect([error.code, error.who, error.what, error.hint, error.cause]).toEqual([
      ...["KVFOLD_FILE", "codec", "cannot read x", "check x"],
      cause,
    ]);
    expect([isKvfoldError(error), isKvfoldError(cause)]).toEqual([true, false]);
  });

  it("needs neither", () => {
    const error = new KvfoldError("KVFOLD_RATIO", "ratio 0");
    expect([error.message, "cause" in error]).toEqual(["[kvfold] ratio 0", false]);
  });
});

describe("throwIfAborted", () => {
  it("throws once the signal has fired, with its reason", () => {
    expect(codeOf(() => throwIfAborted(undefined))).toBe("nothing thrown");
    expect(codeOf(() => throwIfAborted(new AbortController().signal))).toBe("nothing thrown");
    expect(codeOf(() => throwIfAborted(AbortSignal.abort("enough"), "me"))).toBe("KVFOLD_ABORTED");
  });
});
