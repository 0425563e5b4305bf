/** `kvfold bench`: the contract of its JSON, tables, refusals and Ctrl-C. No number is held against a speed. */
import { describe, expect, test } from "vitest";
import { parseOnlyLine, runCli, STACK_FRAME } from "./run-cli.js";

type Row = Record<string, unknown>;

const SMALL = ["--shape", "2x2x32", "--cells", "64", "--runs", "2", "--query-rows", "16", "--threads", "1"];
const kernels = (...args: string[]): string[] => ["bench", "kernels", ...SMALL, ...args];
const decode = (...args: string[]): string[] => ["bench", "decode", "--threads", "1", "--runs", "1", ...args];

const expectPositive = (value: unknown, name: string): void => {
  expect(value, name).toBeTypeOf("number");
  expect(Number.isFinite(value), name).toBe(true);
  expect(value as number, name).toBeGreaterThan(0);
};

describe("kernels", () => {
  test("--json prints one object with the fields of the contract, and nothing else", async () => {
    const { code, stdout, stderr } = await runCli(kernels("--json"));
    expect(stderr).toBe("");
    expect(code).toBe(0);
    const result = parseOnlyLine(stdout);
    expect(Object.keys(result).slice(0, 4)).toEqual(["command", "copyGBs", "peakGFLOPs", "rows"]);
    expect(result).toMatchObject({
      command: "bench-kernels",
      threads: 1,
      runs: 2,
      complete: true,
      skipped: [],
    });
    expectPositive(result.copyGBs, "copyGBs");
    expectPositive(result.peakGFLOPs, "peakGFLOPs");
    expectPositive(result.readGBs, "readGBs");
    const rows = result.rows as Row[];
    for (const row of rows) {
      expect(row).toMatchObject({ shape: "2x2x32", cells: 64 });
      for (const name of ["op", "backend", "type", "layout"]) expect(row[name], name).toBeTypeOf("string");
      expectPositive(row.GBs, "GBs");
      expectPositive(row.ratio, "ratio");
      const { median, minimum, maximum } = row.ms as Record<string, number>;
      expect(minimum).toBeLessThanOrEqual(median!);
      expect(maximum).toBeGreaterThanOrEqual(median!);
      const compute = row.op === "attend" || row.op === "fit";
      expect(row.against).toBe(compute ? "peak" : "copy");
      if (compute) expectPositive(row.GFLOPs, "GFLOPs");
      else expect(row.GFLOPs).toBeNull();
    }
    expect([...new Set(rows.map((row) => row.op))]).toEqual(["fold", "rope", "key-stats", "attend", "fit"]);
    expect([...new Set(rows.map((row) => row.backend))]).not.toContain("reference");
    const folds = rows.filter((row) => row.op === "fold" && row.type === "f16");
    const variants = ["merge", "merge-turned", "evict", "composite"];
    for (const layout of ["rows", "transposed"]) {
      for (const undoLog of [true, false]) {
        const own = folds.filter((row) => row.layout === layout && row.undoLog === undoLog);
        expect(own.map((row) => row.variant)).toEqual(variants);
      }
    }
    // blocks of channels cannot be transposed
    const blocks = rows.filter((row) => row.type === "q8_0");
    expect(blocks.length).toBeGreaterThan(0);
    expect(blocks.every((row) => row.layout === "rows")).toBe(true);
  });

  test("counts the bytes that are read and written", async () => {
    const { stdout } = await runCli(kernels("--op", "fold", "--type", "f32", "--ratio", "2", "--json"));
    const rows = parseOnlyLine(stdout).rows as Row[];
    // keys and values of 2 layers, 2 heads, 32 channels of 4 bytes
    const cell = 2 * 2 * 2 * 32 * 4;
    const bytes = { merge: 96 * cell, "merge-turned": 96 * cell, evict: 64 * cell, composite: 64 * cell };
    for (const row of rows) {
      const { median } = row.ms as Record<string, number>;
      const read = (row.GBs as number) * median! * 1e6;
      expect(read, String(row.variant)).toBeCloseTo(bytes[row.variant as keyof typeof bytes], 3);
    }
  });

  test("takes the backend reference where it is named, and any type", async () => {
    const { code, stdout } = await runCli(
      kernels("--op", "fold,attend", "--backend", "cpu,reference", "--type", "q4_1,bf16", "--json"),
    );
    expect(code).toBe(0);
    const rows = parseOnlyLine(stdout).rows as Row[];
    const kinds = new Set(rows.map((row) => `${row.op} ${row.backend} ${row.type}`));
    expect(kinds.size).toBe(8);
  });

  test("what is too large is left out, with the reason", async () => {
    const args = ["bench", "kernels", "--op", "key-stats", "--type", "f32", "--shape", "64x64x512"];
    const { code, stdout } = await runCli([...args, "--cells", "65536", "--memory", "1", "--json"]);
    expect(code).toBe(0);
    const { rows, skipped, copyGBs, readGBs } = parseOnlyLine(stdout);
    expect(rows).toEqual([]);
    expect([copyGBs, readGBs]).toEqual([null, null]);
    expect(skipped).toEqual([
      expect.objectContaining({ op: "key-stats", shape: "64x64x512", reason: expect.stringMatching(/GiB/) }),
    ]);
  });

  test.each(["60", "100"])("tables fit %s columns, progress goes to standard error", async (COLUMNS) => {
    const { code, stdout, stderr } = await runCli(kernels("--type", "f16"), { env: { COLUMNS } });
    expect(code).toBe(0);
    expect(stdout).toMatch(/^1 thread, medians of 2 runs/);
    expect(stdout).toMatch(/composite/);
    expect(stderr).toMatch(/fold, cpu, f16, 2x2x32, 64 cells: merge/);
    for (const line of stdout.split("\n")) expect(line.length).toBeLessThanOrEqual(Number(COLUMNS));
    // biome-ignore lint/suspicious/noControlCharactersInRegex: escape codes are what must not be there
    expect(stdout + stderr).not.toMatch(/\u001b/);
  });

  test("help fits 60 columns, but for commands to copy", async () => {
    const { code, stdout } = await runCli(["bench", "kernels", "--help"], { env: { COLUMNS: "60" } });
    expect(code).toBe(0);
    const prose = stdout.split("\n").filter((line) => !line.startsWith("  kvfold "));
    for (const line of prose) expect(line.length).toBeLessThanOrEqual(60);
  });

  test("Ctrl-C leaves a complete object with the rows that were done", async () => {
    let sent = false;
    const { code, signal, stdout, stderr } = await runCli(kernels("--runs", "40"), {
      onStderr: (text, child) => {
        if (sent || !text.includes("merge")) return;
        sent = true;
        child.kill("SIGINT");
      },
    });
    expect(signal).toBeNull();
    expect(code).toBe(130);
    expect(stdout).toMatch(/composite/);
    expect(stdout).not.toMatch(/^fit/m);
    expect(stderr).not.toMatch(STACK_FRAME);
  });

  test("Ctrl-C with --json: one whole object, and one on standard error", async () => {
    const { code, stdout, stderr } = await runCli(kernels("--runs", "1000", "--json"), {
      onStart: (child) => void setTimeout(() => child.kill("SIGINT"), 6000),
    });
    expect(code).toBe(130);
    expect(parseOnlyLine(stdout)).toMatchObject({ command: "bench-kernels", complete: false });
    expect(parseOnlyLine(stderr)).toMatchObject({ error: { code: "KVFOLD_ABORTED" } });
  });
});

describe("decode", () => {
  test("--json prints one object for each ratio, with the fields of the contract", async () => {
    const { code, stdout, stderr } = await runCli(decode("--tokens", "640", "--ratio", "2,4", "--json"));
    expect(stderr).toBe("");
    expect(code).toBe(0);
    const results = stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as Row);
    expect(results.map(({ ratio }) => ratio)).toEqual([2, 4]);
    for (const result of results) {
      expect(result).toMatchObject({ command: "bench-decode", model: "nano", tokens: 640, runs: 1 });
      expect(result.strategy).toBeTypeOf("string");
      const cells = 640 / (result.ratio as number);
      const rows = result.rows as Row[];
      expect(rows.map((row) => [row.cache, row.cells])).toEqual([
        ["full", 640],
        ["folded", cells],
        ["native", cells],
      ]);
      for (const row of rows) expectPositive(row.tokensPerSecond, String(row.cache));
      for (const name of ["planMs", "foldMs", "prefillMs", "foldedToNative", "planAndFoldShare"])
        expectPositive(result[name], name);
      expect(result.captureMs).toBeTypeOf("number");
    }
  });

  test("what signals cost is told apart from reading", async () => {
    const args = decode("--tokens", "640", "--strategy", "evict(by=surprise)", "--json");
    const result = parseOnlyLine((await runCli(args)).stdout);
    expect(result.captureMs).not.toBe(0);
    const plain = decode("--tokens", "640", "--strategy", "mean", "--json");
    expect(parseOnlyLine((await runCli(plain)).stdout).captureMs).toBe(0);
  });

  test("the table says how plan and fold compare with the prefill", async () => {
    const { code, stdout, stderr } = await runCli(decode("--tokens", "640", "--strategy", "mean"));
    expect(code).toBe(0);
    expect(stdout).toMatch(/^nano: mean at 4x, 640 tokens/);
    expect(stdout).toMatch(/^folded +160 /m);
    expect(stdout).toMatch(/plan plus fold are [\d.]+ % of the prefill of \d+ ms/);
    expect(stderr).toMatch(/mean at 4x: done/);
  });

  test("Ctrl-C ends it between two results", async () => {
    const { code, stdout, stderr } = await runCli(decode("--tokens", "1024", "--runs", "200", "--json"), {
      onStart: (child) => void setTimeout(() => child.kill("SIGINT"), 6000),
    });
    expect(code).toBe(130);
    expect(stdout).toBe("");
    expect(parseOnlyLine(stderr)).toMatchObject({ error: { code: "KVFOLD_ABORTED" } });
  });
});

describe("bad input", () => {
  test.each([
    ["an unknown operation", kernels("--op", "folt"), "KVFOLD_ARGUMENT", /fold, rope, key-stats/],
    ["an unknown backend", kernels("--backend", "abacus"), "KVFOLD_ARGUMENT", /cpu, reference/],
    ["an unknown type", kernels("--type", "f17"), "KVFOLD_ARGUMENT", /f16/],
    ["a shape in words", kernels("--shape", "large"), "KVFOLD_ARGUMENT", /30x3x64/],
    ["a shape with a zero", kernels("--shape", "30x0x64"), "KVFOLD_ARGUMENT", /layers x KV heads/],
    ["no cells", kernels("--cells", "0"), "KVFOLD_ARGUMENT", /--cells/],
    ["a ratio that leaves nothing", kernels("--ratio", "100"), "KVFOLD_RATIO", /more cells/],
    ["half a ratio", kernels("--ratio", "2.5"), "KVFOLD_ARGUMENT", /whole number/],
    ["no runs", kernels("--runs", "0"), "KVFOLD_ARGUMENT", /--runs/],
    ["too many threads", kernels("--threads", "257"), "KVFOLD_ARGUMENT", /256/],
    ["a word too many", kernels("fast"), "KVFOLD_ARGUMENT", /argument/],
    ["decode with more tokens than the context", decode("--tokens", "8192"), "KVFOLD_ARGUMENT", /8192/],
    ["decode at a ratio below 1", decode("--ratio", "0.5"), "KVFOLD_RATIO", /at least 1/],
    ["decode with a ratio that leaves nothing", decode("--ratio", "5000"), "KVFOLD_RATIO", /no cell/],
    ["decode with an unknown strategy", decode("--strategy", "maen"), "KVFOLD_UNKNOWN_STRATEGY", /mean/],
  ])("%s", async (_, args, code, says) => {
    const outcome = await runCli([...args, "--json"]);
    expect(outcome.code).toBe(2);
    expect(outcome.stdout).toBe("");
    const { error } = parseOnlyLine(outcome.stderr) as { error: Record<string, string> };
    expect(error.code).toBe(code);
    expect(`${error.message} ${error.hint}`).toMatch(says);
  });

  test("a head that blocks do not divide is left out, with the reason", async () => {
    const args = kernels("--op", "fold", "--type", "q8_0", "--shape", "1x1x40", "--json");
    const { code, stdout } = await runCli(args);
    expect(code).toBe(0);
    expect(parseOnlyLine(stdout)).toMatchObject({ rows: [], skipped: [{ type: "q8_0" }] });
  });

  test.each(["kernels", "decode"])("%s --help has examples", async (name) => {
    const { code, stdout } = await runCli(["bench", name, "--help"]);
    expect(code).toBe(0);
    expect(stdout).toContain(`kvfold bench ${name}`);
  });
});
