/** Tests have types as well: the builds of the packages leave them out, so they are checked here. */
import { join } from "node:path";
import ts from "typescript";
import { describe, expect, it } from "vitest";
import { ROOT } from "./files.js";

const host: ts.FormatDiagnosticsHost = {
  getCanonicalFileName: (name) => name,
  getCurrentDirectory: () => ROOT,
  getNewLine: () => "\n",
};

describe("tests and configs", () => {
  it("have no type errors", () => {
    const path = join(ROOT, "test", "tsconfig.json");
    const { config } = ts.readConfigFile(path, ts.sys.readFile) as { config: unknown };
    const { options, fileNames, errors } = ts.parseJsonConfigFileContent(config, ts.sys, join(ROOT, "test"));
    expect(errors).toEqual([]);
    expect(fileNames.length).toBeGreaterThan(20);
    const diagnostics = ts.getPreEmitDiagnostics(ts.createProgram(fileNames, options));
    expect(ts.formatDiagnostics(diagnostics, host)).toBe("");
  });
});
