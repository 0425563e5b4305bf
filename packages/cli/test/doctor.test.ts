/** `kvfold doctor` on a machine where things work, and on one where they do not. */
import { expect, test } from "vitest";
import { parseOnlyLine, runCli } from "./run-cli.js";

type Checks = { name: string; ok: boolean; detail: string; fix: string }[];

test("everything works here", async () => {
  const { code, stdout } = await runCli(["doctor", "--json"]);
  const { command, ok, checks } = parseOnlyLine(stdout) as { command: string; ok: boolean; checks: Checks };
  expect(command).toBe("doctor");
  expect(checks.filter((check) => !check.ok)).toEqual([]);
  expect(ok).toBe(true);
  expect(code).toBe(0);
  for (const check of checks) expect(Object.keys(check)).toEqual(["name", "ok", "detail", "fix"]);
  expect(checks.map((check) => check.name)).toEqual([
    "node",
    "processor",
    "native add-on",
    "llama.cpp",
    "embedded model",
    "live cache",
  ]);
});

test("a missing add-on is found, with a fix, and the exit code says so", async () => {
  const { code, stdout } = await runCli(["doctor", "--json"], {
    env: { KVFOLD_NATIVE_PATH: "/no/such/file.node" },
  });
  expect(code).toBe(1);
  const { ok, checks } = parseOnlyLine(stdout) as { ok: boolean; checks: Checks };
  expect(ok).toBe(false);
  const native = checks.find((check) => check.name === "native add-on")!;
  expect(native.ok).toBe(false);
  expect(native.detail).toContain("/no/such/file.node");
  expect(native.fix).not.toBe("");
});

test("for people it is a list that fits the terminal", async () => {
  const { code, stdout } = await runCli(["doctor"], { env: { COLUMNS: "60" } });
  expect(code).toBe(0);
  expect(stdout).toMatch(/^ok {4}node +Node /m);
  for (const line of stdout.split("\n")) expect(line.length).toBeLessThanOrEqual(60);
});
