/** The embedded files are the ones that every published figure was measured with. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { isAbsolute } from "node:path";
import { describe, expect, test } from "vitest";
import { heldoutTextPath, nanoModelPath } from "./index.js";

const files = [
  {
    name: "model",
    path: nanoModelPath,
    bytes: 8_776_000,
    sha256: "b87ed80beb9c3b4aee3761c33177a09fbd765ea13c57ae5ae26b1b3307a920a3",
    start: "GGUF",
  },
  {
    name: "held-out text",
    path: heldoutTextPath,
    bytes: 464_479,
    sha256: "5d5d6c76e917e8271e3f6151c2434d76107070ba33d767c57eb6dbdaf0cd690b",
    start: "",
  },
];

describe.each(files)("$name", ({ path, bytes, sha256, start }) => {
  const content = readFileSync(path);

  test("has an absolute path", () => {
    expect(isAbsolute(path)).toBe(true);
  });

  test("has the published size and hash", () => {
    expect(content.byteLength).toBe(bytes);
    expect(createHash("sha256").update(content).digest("hex")).toBe(sha256);
    expect(content.toString("latin1", 0, start.length)).toBe(start);
  });
});

test("the held-out text is valid UTF-8", () => {
  expect(() => new TextDecoder("utf-8", { fatal: true }).decode(readFileSync(heldoutTextPath))).not.toThrow();
});
