/** Runs of a command line, and what tells one strategy from another in a result file. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  createRegistry,
  defineStrategy,
  identityPlan,
  type OptionInfo,
  resolveStrategy,
  type StandardSchemaV1,
} from "@kvfold/core";
import { afterAll, describe, expect, test } from "vitest";
import { chosenRuns, refuseRatios, strategyIdentity } from "./strategies.js";

const folder = mkdtempSync(join(tmpdir(), "kvfold-strategies-"));
afterAll(() => rmSync(folder, { recursive: true }));

describe("chosenRuns", () => {
  const names = async (flags: Parameters<typeof chosenRuns>[0]): Promise<unknown> =>
    (await chosenRuns(flags)).map(({ strategy, ratio }) => `${strategy.expression} ${ratio}`);

  test("every strategy at every ratio, in order, once", async () => {
    const strategy = ["mean", "sum", "mean()"];
    expect(await names({ strategy, ratio: [4, 8] })).toEqual(["mean 4", "mean 8", "sum 4", "sum 8"]);
  });

  test("the default strategy at 4x", async () => {
    expect(await names({})).toEqual([expect.stringMatching(/ 4$/)]);
  });

  test("ratios that leave no cell are refused", () => {
    expect(() => refuseRatios([2, 65], 64)).toThrowError(expect.objectContaining({ code: "KVFOLD_RATIO" }));
    expect(() => refuseRatios([2, 64], 64)).not.toThrow();
  });
});

describe("strategyIdentity", () => {
  const schema: StandardSchemaV1<unknown, { size: number }> = {
    "~standard": { version: 1, vendor: "test", validate: (value) => ({ value: value as { size: number } }) },
  };
  const registryOf = (size: number) => {
    const info: { readonly size: OptionInfo } = { size: { default: size, description: "" } };
    const create = () => ({ plan: identityPlan });
    return createRegistry([
      defineStrategy<{ size: number }>({ name: "keep", summary: "", options: { schema, info }, create }),
      defineStrategy({ name: "other", summary: "", create }),
    ]);
  };
  const identity = async (text: string, size = 1, cwd = folder): Promise<string> => {
    const registry = registryOf(size);
    return strategyIdentity(text, await resolveStrategy(text, registry, { cwd }), registry, cwd);
  };

  test("is the same for the same strategy", async () => {
    expect(await identity("keep")).toBe(await identity(" keep "));
    expect(await identity("keep")).toMatch(/^keep [0-9a-f]{16}$/);
  });

  test("changes with an option, and with a default that is not written out", async () => {
    expect(await identity("keep(size=2)")).not.toBe(await identity("keep"));
    expect(await identity("keep", 2)).not.toBe(await identity("keep", 1));
    expect(await identity("other", 2)).toBe(await identity("other", 1));
  });

  test("changes with the module that a strategy comes from", async () => {
    const path = join(folder, "own.mjs");
    const parts = `name: "own", expression: "own", signals: [], scope: "all", appliesTo: () => true, plan: () => null`;
    const write = (more: string): void => writeFileSync(path, `export default { ${parts} };\n// ${more}`);
    write("one");
    const [one, again] = [await identity("./own.mjs"), await identity("./own.mjs")];
    write("two");
    expect(one).toBe(again);
    expect(await identity("./own.mjs")).not.toBe(one);
  });
});
