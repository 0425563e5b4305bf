/** House rules that a reader would otherwise have to enforce: length, purpose line, exports, words. */
import { describe, expect, it } from "vitest";
import { files, read, withExtension } from "./files.js";

/** Files over the limit, each with the reason. */
const LONG_FILES: Readonly<Record<string, string>> = {};

/** Lines of a file at most, by extension. */
const LIMITS = [
  { extensions: ["ts", "mjs", "js"], lines: 250 },
  { extensions: ["cc", "cpp", "h", "cu", "cuh", "metal", "mm"], lines: 400 },
];

const source = withExtension("ts", "mjs", "js", "cc", "cpp", "h", "cu", "cuh", "metal", "mm");
const lines = (path: string): number => read(path).trimEnd().split("\n").length;

describe("file length", () => {
  it.each(LIMITS)("$extensions: at most $lines lines", (limit) => {
    const long = withExtension(...limit.extensions)
      .filter((path) => !(path in LONG_FILES) && lines(path) > limit.lines)
      .map((path) => `${path}: ${lines(path)}`);
    expect(long).toEqual([]);
  });

  it("has no stale exception", () => {
    const stale = Object.keys(LONG_FILES).filter((path) => !files.includes(path) || lines(path) <= 250);
    expect(stale).toEqual([]);
  });
});

describe("first line", () => {
  it("says what the file is for", () => {
    const silent = source.filter((path) => {
      const [first = "", second = ""] = read(path).split("\n");
      return !/^\s*(\/\*|\/\/)/.test(first.startsWith("#!") ? second : first);
    });
    expect(silent.filter((path) => !/vitest\.(\w+\.)?config\.ts$/.test(path))).toEqual([]);
  });
});

/** Where tools demand a default export, and plug-in entry files, whose default export is their contract. */
const DEFAULT_EXPORT_ALLOWED = /\.config\.(ts|js|mjs)$|(^|\/)(fixtures|examples|template)\//;

describe("exports", () => {
  it("are named", () => {
    const pattern = /^\s*export\s+default\b|^\s*export\s*\{[^}]*\bas\s+default\b/m;
    const found = withExtension("ts", "mjs", "js").filter(
      (path) => !DEFAULT_EXPORT_ALLOWED.test(path) && pattern.test(read(path)),
    );
    expect(found).toEqual([]);
  });
});

/** Written in pieces, so that this file does not find itself. */
const word = (...parts: string[]): string => parts.join("");
const FORBIDDEN: readonly { readonly what: string; readonly pattern: RegExp }[] = [
  {
    what: "a registry host",
    pattern: new RegExp(
      word("registry", "\\.(npmjs|yarnpkg|npmmirror)|npm", "mirror\\.com|verd", "accio"),
      "i",
    ),
  },
  {
    what: "a path of one machine",
    pattern: new RegExp(word("(^|[\\s\"'`(=])/", "work/|\\.\\./", "shared/|/tmp/", "brief"), "m"),
  },
  { what: "a placeholder", pattern: new RegExp(word("@@[A-Z]", "+@@")) },
  { what: "an open end", pattern: new RegExp(word("\\b(TO", "DO|FIX", "ME)\\b")) },
];

/** Binary or third-party data: model weights and texts. */
const isText = (path: string): boolean =>
  /\.(ts|mjs|js|json|md|cc|cpp|h|cu|cuh|metal|mm|txt|cmake|ya?ml|sh)$|(^|\/)(run|LICENSE|\.npmrc)$/.test(
    path,
  ) && !/\/data\//.test(path);

describe("words", () => {
  it.each(FORBIDDEN)("no file holds $what", ({ pattern }) => {
    expect(files.filter((path) => isText(path) && pattern.test(read(path)))).toEqual([]);
  });

  it("the patterns find what they are for", () => {
    const samples = [
      word("https://registry.", "npmjs.org/x"),
      word("see /", "work/main"),
      word("the table: @@TA", "BLE@@"),
      word("// TO", "DO later"),
    ];
    expect(FORBIDDEN.map(({ pattern }, i) => pattern.test(samples[i]!))).toEqual(samples.map(() => true));
  });
});
