/** The package keeps its own rules: generated registry, public doors only, one name for one thing. */
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { defineScorer, isPlugin, resolveStrategy } from "@kvfold/core";
import { describe, expect, it } from "vitest";
import * as everything from "../src/index.js";
import { createDefaultRegistry, defaultStrategy } from "../src/index.js";

const root = join(import.meta.dirname, "..");
const sources = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })
  .map((path) => path.replaceAll("\\", "/"))
  .filter((path) => path.endsWith(".ts") && !path.endsWith(".test.ts"));
const read = (path: string): string => readFileSync(join(root, path), "utf8");
const registry = createDefaultRegistry();

it("has a registry and subpath exports that are up to date", () => {
  const check = () =>
    execFileSync(process.execPath, [join(root, "scripts/gen-registry.mjs"), "--check"], { stdio: "pipe" });
  expect(check).not.toThrow();
});

it("imports nothing but the public door of core, valibot and itself", () => {
  const found = sources.flatMap((path) =>
    [...read(`src/${path}`).matchAll(/^(?:import|export)\b[^;"=]*"([^"]+)";|\bimport\(\s*"([^"]+)"/gm)].map(
      (match) => [path, match[1] ?? match[2]!] as const,
    ),
  );
  expect(found.length).toBeGreaterThan(30);
  const allowed = (name: string): boolean =>
    name === "@kvfold/core" || name === "valibot" || /^\.\.?\//.test(name);
  expect(found.filter(([, name]) => !allowed(name))).toEqual([]);
});

describe("every built-in", () => {
  it.each(registry.list().map((entry) => [entry.name, entry] as const))(
    "%s says what it is",
    (name, entry) => {
      expect(entry.summary).toMatch(/^[A-Z].*\.$/);
      for (const [option, { description }] of Object.entries(entry.options)) {
        expect(`${option}: ${description}`).toMatch(/^[a-zA-Z]+: \S/);
      }
      const file = sources.find((path) => basename(path, ".ts") === name);
      expect(file, "a file of its name").toBeDefined();
      expect(
        Object.values(everything).some((value) => isPlugin(value) && value.definition.name === name),
      ).toBe(true);
      expect(read("README.md")).toContain(`| \`${name}`);
    },
  );

  it.each(registry.list().flatMap(({ kind, name }) => (kind === "strategy" ? [name] : [])))(
    "%s is made again by its own expression",
    async (name) => {
      const { expression } = await resolveStrategy(name, registry);
      expect((await resolveStrategy(expression, registry)).expression).toBe(expression);
      const wrapped = `pin(sinks=1,recent=2,positions=[7],level=key) > self-extend(factor=2,window=64) > ${expression}`;
      expect((await resolveStrategy(wrapped, registry)).expression).toBe(wrapped);
    },
  );
});

it("has the default that is documented", () => {
  expect(defaultStrategy().expression).toBe("refit");
  expect(read("README.md")).toContain(`\`${defaultStrategy().expression}\``);
});

it("gives each caller a registry of its own", () => {
  const mine = createDefaultRegistry();
  const other = defineScorer({
    name: "mine",
    summary: "Mine.",
    create: () => ({ score: () => ({ scope: "shared", data: new Float32Array(1) }) }),
  });
  mine.add(other);
  expect(mine.scorer("mine")).toBe(other);
  expect(() => createDefaultRegistry().scorer("mine")).toThrow(/there is no scorer "mine"/);
});
