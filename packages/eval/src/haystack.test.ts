/** Prose files as haystacks: what is read, how it is cut, and what is refused. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { heldoutTextPath } from "@kvfold/model-nano";
import { afterAll, describe, expect, test } from "vitest";
import { proseHaystack, splitPieces } from "./haystack.js";
import { TEXT_LIMIT_BYTES } from "./text-file.js";

const folder = mkdtempSync(join(tmpdir(), "kvfold-haystack-"));
afterAll(() => rmSync(folder, { recursive: true }));
const write = (name: string, content: string | Uint8Array): string => {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
};

describe("splitPieces", () => {
  test("cuts after sentences and keeps the white space before them", () => {
    expect(splitPieces('  One. Two!\nThree? "Four." Five ')).toEqual([
      "One.",
      " Two!",
      "\nThree?",
      ' "Four."',
      " Five",
    ]);
  });

  test("loses nothing but the white space around", () => {
    const text = "A b. C.D e.f (g.) h...  i\n\nj.";
    expect(splitPieces(`\n ${text}\t`).join("")).toBe(text);
  });

  test("cuts text without sentences between words, and never inside a character", () => {
    const words = splitPieces("word ".repeat(1000));
    expect(words.length).toBeGreaterThan(1);
    for (const piece of words.slice(1)) expect(piece).toMatch(/^ word/);
    const emoji = splitPieces("😀".repeat(1001));
    expect(emoji.join("")).toBe("😀".repeat(1001));
    for (const piece of emoji) expect(piece.isWellFormed()).toBe(true);
  });
});

describe("proseHaystack", () => {
  test("reads the held-out text", async () => {
    const haystack = await proseHaystack(heldoutTextPath);
    expect(haystack.kind).toBe("window");
    expect(haystack.pieces.length).toBeGreaterThan(3000);
  });

  test("reads no more than its limit, and no half character", async () => {
    const path = write("long.txt", `a${"é. ".repeat(TEXT_LIMIT_BYTES / 2)}`);
    const { pieces } = await proseHaystack(path);
    const bytes = Buffer.byteLength(pieces.join(""));
    expect(bytes).toBeLessThanOrEqual(TEXT_LIMIT_BYTES);
    expect(bytes).toBeGreaterThan(TEXT_LIMIT_BYTES - 8);
  });

  test.each([
    ["a missing file", () => join(folder, "missing.txt"), /does not exist/],
    ["a directory", () => folder, /is not a file/],
    ["binary data", () => write("binary.bin", new Uint8Array([71, 71, 0, 1])), /not a text file/],
    ["another encoding", () => write("latin1.txt", new Uint8Array([104, 233, 32, 104])), /not valid UTF-8/],
    ["an empty file", () => write("empty.txt", " \n"), /holds no text/],
  ])("refuses %s", async (_, path, message) => {
    await expect(proseHaystack(path())).rejects.toMatchObject({
      code: "KVFOLD_FILE",
      message: expect.stringMatching(message),
    });
  });
});
