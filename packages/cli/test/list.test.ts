/** `kvfold list` names everything that an expression can say. */
import { createDefaultRegistry, defaultStrategy } from "@kvfold/strategies";
import { expect, test } from "vitest";
import { parseOnlyLine, runCli } from "./run-cli.js";

const registered = createDefaultRegistry().list();

test("names every plug-in with its options and the default strategy", async () => {
  const { code, stdout, stderr } = await runCli(["list"]);
  expect(code).toBe(0);
  expect(stderr).toBe("");
  for (const { name, options } of registered) {
    expect(stdout).toMatch(new RegExp(`^  ${name}( |$)`, "m"));
    for (const option of Object.keys(options)) expect(stdout).toContain(`${option}=`);
  }
  expect(stdout.replaceAll(/\s+/g, "")).toContain(defaultStrategy().expression.replaceAll(" ", ""));
});

test("--json prints one object", async () => {
  const { code, stdout } = await runCli(["list", "--json"]);
  expect(code).toBe(0);
  const list = parseOnlyLine(stdout) as {
    command: string;
    default: string;
    plugins: { name: string; kind: string }[];
  };
  expect(list.command).toBe("list");
  expect(list.default).toBe(defaultStrategy().expression);
  expect(list.plugins.map(({ kind, name }) => `${kind} ${name}`)).toEqual(
    registered.map(({ kind, name }) => `${kind} ${name}`),
  );
});

test.each(["60", "100"])("fits %s columns", async (COLUMNS) => {
  const { stdout } = await runCli(["list"], { env: { COLUMNS } });
  for (const line of stdout.split("\n")) expect(line.length).toBeLessThanOrEqual(Number(COLUMNS));
});
