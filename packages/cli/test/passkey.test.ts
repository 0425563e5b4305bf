/** `kvfold passkey` on the embedded model: the contract of its JSON, the table, the demonstration, plans. */

import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { heldoutTextPath } from "@kvfold/model-nano";
import { defaultStrategy } from "@kvfold/strategies";
import { afterAll, describe, expect, test } from "vitest";
import { parseOnlyLine, QUICK, runCli, STACK_FRAME } from "./run-cli.js";

const folder = mkdtempSync(join(tmpdir(), "kvfold-passkey-"));
afterAll(() => rmSync(folder, { recursive: true }));

type Row = Record<string, number | string>;

describe("--json", () => {
  test("prints one object with the fields of the contract, and nothing else", async () => {
    const { code, stdout, stderr } = await runCli(["passkey", ...QUICK, "--ratio", "2,4", "--json"]);
    expect(stderr).toBe("");
    expect(code).toBe(0);
    const result = parseOnlyLine(stdout);
    expect(result).toMatchObject({
      command: "passkey",
      model: "nano",
      tokens: 640,
      key: "digits",
      haystack: "junk",
      trials: 1,
    });
    const rows = result.rows as Row[];
    expect(rows.map((row) => row.ratio)).toEqual([2, 4]);
    for (const row of rows) {
      expect(row.strategy).toBe(defaultStrategy().expression);
      const numbers = ["cellsBefore", "cellsAfter", "bytesFreed", "full", "folded", "planMs", "foldMs"];
      for (const name of [...numbers, "decodeBefore", "decodeAfter"]) {
        expect(row[name], name).toBeTypeOf("number");
        expect(Number.isFinite(row[name])).toBe(true);
      }
      expect(row.cellsBefore).toBeGreaterThan(560);
      expect(row.cellsAfter).toBeLessThanOrEqual(Math.ceil(Number(row.cellsBefore) / Number(row.ratio)));
      // f16, 6 layers, 2 KV heads of 64 + 64 channels: 3 KiB a cell
      expect(row.bytesFreed).toBe((Number(row.cellsBefore) - Number(row.cellsAfter)) * 3072);
      expect(row.full).toBe(1);
      expect(row.decodeBefore).toBeGreaterThan(0);
      expect(row.decodeAfter).toBeGreaterThan(0);
    }
  });

  test("is the same twice, but for the times", async () => {
    const args = ["passkey", ...QUICK, "--key", "words", "--seed", "5", "--json"];
    const [one, two] = await Promise.all([runCli(args), runCli(args)]);
    const timeless = (text: string): string =>
      text.replace(/"(planMs|foldMs|decodeBefore|decodeAfter|prefillMs|captureMs)":[\d.e+-]+/g, "");
    expect(timeless(one.stdout)).toBe(timeless(two.stdout));
    expect(one.stdout).toContain('"key":"words"');
  });

  test("losing the key is a result: exit code 0", async () => {
    const { code, stdout } = await runCli(["passkey", ...QUICK, "--strategy", "sum", "--json"]);
    expect(code).toBe(0);
    expect(parseOnlyLine(stdout)).toMatchObject({ rows: [{ strategy: "sum", full: 1, folded: 0 }] });
  });
});

describe("settings", () => {
  test.each([
    ["a quantised cache", ["--cache-type", "q8_0"]],
    ["no flash attention", ["--flash-attention", "off"]],
    ["prose", ["--haystack", heldoutTextPath]],
    ["folding while reading", ["--fold-every", "256", "--strategy", "mean"]],
    ["chosen depths", ["--depths", "50"]],
  ])("%s", async (_, args) => {
    const { code, stdout, stderr } = await runCli(["passkey", ...QUICK, ...args, "--json"]);
    expect(stderr).toBe("");
    expect(code).toBe(0);
    const [row] = parseOnlyLine(stdout).rows as Row[];
    expect(row!.full).toBe(1);
    expect(Number(row!.cellsAfter)).toBeLessThan(Number(row!.cellsBefore));
  });
});

test("what capturing signals costs is told apart from reading", async () => {
  const args = ["passkey", ...QUICK, "--strategy", "evict(by=surprise)", "--json"];
  const { stdout } = await runCli(args);
  const { signals, prefillMs, captureMs } = parseOnlyLine(stdout);
  expect(signals).toContain("tokenLogProbs");
  expect(captureMs).toBeTypeOf("number");
  expect(captureMs).toBeLessThan(prefillMs as number);
  const plain = await runCli(["passkey", ...QUICK, "--strategy", "mean", "--json"]);
  expect(parseOnlyLine(plain.stdout)).toMatchObject({ captureMs: null, signals: [] });
});

describe("the table", () => {
  test("goes to standard output, progress to standard error", async () => {
    const { code, stdout, stderr } = await runCli(["passkey", ...QUICK, "--strategy", "mean"]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^nano: a number in 640 tokens of junk/);
    expect(stdout).toMatch(/strategy .*ratio .*cells/);
    expect(stdout).toMatch(/^mean +4x +\d+ → \d+ .* 1\/1 +\d\/1 /m);
    expect(stderr).toMatch(/key 1 of 1/);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: escape codes are what must not be there
    expect(stdout + stderr).not.toMatch(/\u001b/);
  });

  test.each(["60", "80", "120"])("fits %s columns", async (COLUMNS) => {
    const args = ["passkey", "--strategy", "evict(by=keydiff,per=head)", ...QUICK];
    const { stdout } = await runCli(args, { env: { COLUMNS } });
    const table = stdout.split("\n").slice(2);
    expect(table.join("\n")).toMatch(/evict\(by=keydiff/);
    for (const line of table) expect(line.length).toBeLessThanOrEqual(Number(COLUMNS));
  });
});

test("--demo measures the seed strategies, eviction and refit, and explains them", async () => {
  const args = ["passkey", "--demo", "--tokens", "1280", "--trials", "1"];
  const { code, stdout } = await runCli(args, { env: { COLUMNS: "140" } });
  expect(code).toBe(0);
  for (const name of ["sum", "mean", "head-pick"]) expect(stdout).toMatch(new RegExp(`^${name} +4x `, "m"));
  expect(stdout).toMatch(/per=shared/);
  expect(stdout).toMatch(/ 8x /);
  for (const ratio of [4, 8]) {
    expect(stdout).toMatch(new RegExp(`^evict\\(by=keydiff,per=head\\) +${ratio}x `, "m"));
    expect(stdout).toMatch(new RegExp(`^refit +${ratio}x `, "m"));
    expect(stdout).toMatch(new RegExp(`^refit\\(queries=repeat\\) +${ratio}x `, "m"));
  }
  expect(stdout).toMatch(/^- refit\(queries=repeat\) \d of 1 at 4x and \d of 1 at 8x/m);
  expect(stdout).toMatch(/, the default: /);
  expect(stdout).toMatch(/The model reads [\d,]+ tokens/);
});

describe("--save-plan", () => {
  const plan = join(folder, "first.plan");

  test("writes a plan that inspect reads", async () => {
    const saved = await runCli(["passkey", ...QUICK, "--ratio", "4", "--save-plan", plan, "--json"]);
    expect(saved.code).toBe(0);
    expect(existsSync(plan)).toBe(true);
    const [row] = parseOnlyLine(saved.stdout).rows as Row[];
    const shown = await runCli(["inspect", "plan", plan, "--json"]);
    expect(shown.code).toBe(0);
    expect(parseOnlyLine(shown.stdout)).toMatchObject({
      command: "inspect-plan",
      cells: row!.cellsBefore,
      rows: row!.cellsAfter,
    });
    const picture = await runCli(["inspect", "plan", plan]);
    expect(picture.code).toBe(0);
    expect(picture.stdout.split("\n").length).toBeGreaterThan(3);
  });

  test("a folder that is missing is refused before the work, and nothing is left behind", async () => {
    const { code, stderr } = await runCli([
      "passkey",
      ...QUICK,
      "--save-plan",
      join(folder, "no", "x.plan"),
      "--json",
    ]);
    expect(code).toBe(1);
    expect(stderr).toContain("KVFOLD_FILE");
    expect(readdirSync(folder)).toEqual(["first.plan"]);
  });
});

describe("Ctrl-C", () => {
  const long = ["passkey", "--tokens", "1024", "--trials", "40", "--threads", "1"];
  const interruptAfterFirstKey = (args: readonly string[]): ReturnType<typeof runCli> => {
    let sent = false;
    return runCli(args, {
      onStderr: (text, child) => {
        if (sent || !text.includes("key 1 of 40")) return;
        sent = true;
        child.kill("SIGINT");
      },
    });
  };

  test("ends cleanly with 130, no table, no stack, no file", async () => {
    const plan = join(folder, "interrupted.plan");
    const { code, signal, stdout, stderr } = await interruptAfterFirstKey([...long, "--save-plan", plan]);
    expect(signal).toBeNull();
    expect(code).toBe(130);
    expect(stdout).toBe("");
    expect(stderr).not.toMatch(STACK_FRAME);
    expect(stderr).not.toContain("key 40 of 40");
    expect(readdirSync(folder).filter((name) => name.startsWith("interrupted"))).toEqual([]);
  });

  test("with --json standard error is one JSON object", async () => {
    const { code, stdout, stderr } = await runCli([...long, "--json"], {
      // enough to be at work, far from enough to be done
      onStart: (child) => void setTimeout(() => child.kill("SIGINT"), 2000),
    });
    expect(code).toBe(130);
    expect(stdout).toBe("");
    expect(parseOnlyLine(stderr)).toMatchObject({ error: { code: "KVFOLD_ABORTED" } });
  });
});
