/** The package promises types and nothing that runs; its README explains every word of the file. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import * as gateTrainer from "./index.js";

const read = (path: string): string => readFileSync(new URL(path, import.meta.url), "utf8");

/** The members of the exported string union `name`, read from the source. */
function unionMembers(name: string): string[] {
  const body = new RegExp(`export type ${name} =([^;]*);`).exec(read("gate-file.ts"))?.[1] ?? "";
  return [...body.matchAll(/"(\w+)"/g)].map((match) => match[1]!);
}

test("nothing in the package can be called", () => {
  expect(Object.keys(gateTrainer)).toEqual([]);
});

test.each(["GateFeature", "GateTarget"])("the README explains every %s", (name) => {
  const members = unionMembers(name);
  expect(members.length).toBeGreaterThan(1);
  for (const member of members) expect(read("../README.md")).toContain(`\`${member}\``);
});

test("position is no feature", () => {
  expect(unionMembers("GateFeature").filter((feature) => /position/i.test(feature))).toEqual([]);
});
