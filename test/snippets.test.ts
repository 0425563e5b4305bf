/** The code in the documents compiles, and the strategy of the guide keeps every promise. */
import { pathToFileURL } from "node:url";
import { describe, expect, it } from "vitest";
import type { MergeStrategy } from "../packages/core/src/strategy.js";
import { testStrategy } from "../packages/testkit/src/test-strategy.js";
import { compile, documents, snippetsOf, writeModule } from "./snippets.js";

describe("TypeScript in the documents", () => {
  it("is found", () => {
    expect(documents).toEqual(
      expect.arrayContaining(["docs/guide/writing-a-strategy.md", "packages/testkit/README.md"]),
    );
  });

  it("compiles", () => {
    expect(compile(documents.flatMap(snippetsOf))).toEqual([]);
  });

  it("would not compile with a mistake in it", () => {
    const [snippet] = snippetsOf("docs/guide/writing-a-strategy.md");
    const broken = { ...snippet!, code: snippet!.code.replace("keepPlan(view,", "keepPlan(") };
    expect(compile([broken]).join("\n")).toMatch(/spaced\.ts:\d+ /);
  });
});

const guide = snippetsOf("docs/guide/writing-a-strategy.md").find(({ path }) => path.endsWith("spaced.ts"))!;
const { spaced } = (await import(pathToFileURL(writeModule(guide)).href)) as { spaced: () => MergeStrategy };

testStrategy("spaced, of the guide", () => spaced());
