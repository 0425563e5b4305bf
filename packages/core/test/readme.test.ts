/** The README's program runs and prints what the README says. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it, vi } from "vitest";

it("prints what it says", async () => {
  const readme = await readFile(join(import.meta.dirname, "../README.md"), "utf8");
  const [, program, output] =
    /<!-- file: readme\.ts -->\n```ts\n([\s\S]*?)```[\s\S]*?```\n([\s\S]*?)```/.exec(readme)!;
  // beside this file, so that it resolves as a module of this package
  const folder = await mkdtemp(join(import.meta.dirname, "build-readme-"));
  const log = vi.spyOn(console, "log").mockImplementation(() => {});
  try {
    const source = program!.replace("@kvfold/core", join(import.meta.dirname, "../src/index.js"));
    await writeFile(join(folder, "readme.ts"), source);
    await import(join(folder, "readme.ts"));
    const printed = log.mock.calls.map(([line]) => line).join("\n");
    expect(printed.endsWith(output!.trimEnd())).toBe(true);
  } finally {
    log.mockRestore();
    await rm(folder, { recursive: true });
  }
});
