/** `kvfold eval` on the embedded model: the contract of its lines, result files, interruptions, comparisons. */
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { parseOnlyLine, runCli, STACK_FRAME } from "./run-cli.js";

const folder = mkdtempSync(join(tmpdir(), "kvfold-eval-"));
afterAll(() => rmSync(folder, { recursive: true }));

type Line = Record<string, unknown>;
const linesOf = (text: string): Line[] =>
  text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Line);
const TWO = ["--strategy", "mean", "--strategy", "evict(by=keydiff,per=head)", "--ratio", "2,4"];
const KL = ["eval", "kl", "--tokens", "640", "--windows", "2", "--window", "32", "--threads", "1", ...TWO];
const PASSKEY = ["eval", "passkey", "--tokens", "640", "--trials", "2", "--threads", "1", ...TWO];

describe("kl", () => {
  const file = join(folder, "kl.jsonl");

  test("prints the rows of the contract, and keeps every window in the file", async () => {
    const { code, stdout, stderr } = await runCli([...KL, "-o", file, "--json"]);
    expect(stderr).toBe("");
    expect(code).toBe(0);
    const rows = linesOf(stdout);
    expect(rows.map((row) => [row.strategy, row.ratio])).toEqual([
      ["mean", 2],
      ["mean", 4],
      ["evict(by=keydiff,per=head)", 2],
      ["evict(by=keydiff,per=head)", 4],
    ]);
    for (const row of rows) {
      expect(row).toMatchObject({ command: "eval", task: "kl", model: "nano", tokens: 640, windows: 2 });
      expect(Object.keys(row.kl as Line)).toEqual(["mean", "p50", "p95", "p99"]);
      for (const value of [...Object.values(row.kl as Line), row.top1, row.deltaNll]) {
        expect(value).toBeTypeOf("number");
      }
    }
    const kept = linesOf(readFileSync(file, "utf8"));
    expect(kept.filter((line) => line.command === "eval-cell")).toHaveLength(8);
    expect(kept.filter((line) => line.command === "eval")).toEqual(rows);
  });

  test("a second run measures nothing, prints the same and leaves the file as it is", async () => {
    const before = readFileSync(file, "utf8");
    const { stdout } = await runCli([...KL, "-o", file, "--json"]);
    expect(linesOf(stdout)).toEqual(linesOf(before).filter((line) => line.command === "eval"));
    expect(readFileSync(file, "utf8")).toBe(before);
  });

  test("a cut last line is measured again, and nothing else", async () => {
    const before = readFileSync(file, "utf8");
    const cut = join(folder, "cut.jsonl");
    const cells = linesOf(before).filter((line) => line.command === "eval-cell");
    writeFileSync(
      cut,
      `${cells
        .slice(0, 5)
        .map((line) => JSON.stringify(line))
        .join("\n")}\n`,
    );
    appendFileSync(cut, JSON.stringify(cells[5]).slice(0, 90));
    const { code, stdout } = await runCli([...KL, "-o", cut, "--json"]);
    expect(code).toBe(0);
    const rows = linesOf(before).filter((line) => line.command === "eval");
    expect(linesOf(stdout)).toEqual(rows);
    expect(linesOf(readFileSync(cut, "utf8")).slice(0, 5)).toEqual(cells.slice(0, 5));
  });

  test("compare tells who is better, and by how much", async () => {
    const before = readFileSync(file, "utf8");
    const compared = await runCli(["eval", "compare", file, "--baseline", "mean", "--json"]);
    expect(compared.code).toBe(0);
    const rows = linesOf(compared.stdout).filter((row) => row.strategy !== "mean");
    expect(rows).toHaveLength(2);
    for (const row of rows) {
      expect(row).toMatchObject({ command: "eval-compare", baseline: "mean", pairs: 2 });
      const { mean, low, high } = row.difference as Record<string, number>;
      expect(mean).toBeLessThan(0);
      expect(low).toBeLessThanOrEqual(mean!);
      expect(high).toBeGreaterThanOrEqual(mean!);
      expect(row.quotient).toBeLessThan(1);
    }
    expect(readFileSync(file, "utf8")).toBe(before);
  });

  test.each(["60", "100"])("tables fit %s columns", async (COLUMNS) => {
    const { code, stdout } = await runCli(["eval", "compare", file], { env: { COLUMNS } });
    expect(code).toBe(0);
    expect(stdout).toMatch(/2 windows of 32 tokens/);
    for (const line of stdout.split("\n")) expect(line.length).toBeLessThanOrEqual(Number(COLUMNS));
  });
});

test("passkey prints the rows of the contract, one table after another", async () => {
  const { code, stdout, stderr } = await runCli([...PASSKEY, "--key", "digits,words", "--json"]);
  expect(stderr).toBe("");
  expect(code).toBe(0);
  const rows = linesOf(stdout);
  expect(rows.map((row) => row.key)).toEqual([...Array(4).fill("digits"), ...Array(4).fill("words")]);
  for (const row of rows) {
    expect(row).toMatchObject({ command: "eval", task: "passkey", model: "nano", tokens: 640, trials: 2 });
    expect(row).toMatchObject({ haystack: "junk", full: 2 });
    if (row.strategy === "mean") expect(row.folded).toBe(0);
    else expect(row.folded).toBeGreaterThan(0);
  }
});

test("strategies that fold while the prompt is read", async () => {
  const { code, stdout } = await runCli([...PASSKEY, "--fold-every", "256", "--json"]);
  expect(code).toBe(0);
  for (const row of linesOf(stdout)) expect(row).toMatchObject({ foldEvery: 256, full: 2 });
});

describe("Ctrl-C", () => {
  test("leaves whole lines, and the next run goes on there", async () => {
    const file = join(folder, "interrupted.jsonl");
    const args = [...KL.slice(0, 2), "--windows", "6", ...KL.slice(2).filter((_, i) => i !== 2 && i !== 3)];
    let sent = false;
    const { code, stdout, stderr } = await runCli([...args, "-o", file], {
      onStderr: (text, child) => {
        if (sent || !text.includes("window 1: done")) return;
        sent = true;
        child.kill("SIGINT");
      },
    });
    expect(code).toBe(130);
    expect(stdout).toBe("");
    expect(stderr).not.toMatch(STACK_FRAME);
    expect(stderr).toMatch(/4 of 24 results · about \d+ s left/);
    const kept = readFileSync(file, "utf8");
    expect(kept.endsWith("\n")).toBe(true);
    const cells = linesOf(kept).length;
    expect(cells).toBeGreaterThanOrEqual(4);
    expect(cells).toBeLessThan(24);
    const again = await runCli([...args, "-o", file]);
    expect(again.code).toBe(0);
    expect(again.stderr).not.toMatch(/window 1: done/);
    expect(readFileSync(file, "utf8").startsWith(kept)).toBe(true);
    expect(linesOf(readFileSync(file, "utf8")).filter((line) => line.command === "eval-cell")).toHaveLength(
      24,
    );
  });
});

describe("a result file", () => {
  const write = (name: string, content: string): string => {
    const path = join(folder, name);
    writeFileSync(path, content);
    return path;
  };
  test.each([
    ["of something else, to write", () => [...KL, "-o", write("book.txt", "It was a dark night")]],
    ["of something else, to compare", () => ["eval", "compare", write("story.txt", "It was a dark night\n")]],
    ["without results", () => ["eval", "compare", write("empty.jsonl", "")]],
    ["that is missing", () => ["eval", "compare", join(folder, "missing.jsonl")]],
  ])("%s is refused", async (_, args) => {
    const { code, stdout, stderr } = await runCli([...args(), "--json"]);
    expect(code).toBe(1);
    expect(stdout).toBe("");
    expect(parseOnlyLine(stderr)).toMatchObject({ error: { code: "KVFOLD_FILE" } });
  });

  test("of something else is left as it was", async () => {
    const path = write("notes.txt", "It was a dark night");
    await runCli([...KL, "-o", path]);
    expect(readFileSync(path, "utf8")).toBe("It was a dark night");
  });
});
