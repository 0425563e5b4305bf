/** Bad input: a code, a hint and the right exit code; never a stack trace, never a result. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { nanoModelPath } from "@kvfold/model-nano";
import { afterAll, describe, expect, test } from "vitest";
import { parseOnlyLine, QUICK, runCli, STACK_FRAME } from "./run-cli.js";

const folder = mkdtempSync(join(tmpdir(), "kvfold-usage-"));
afterAll(() => rmSync(folder, { recursive: true }));
const write = (name: string, content: string | Uint8Array): string => {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
};
const textModel = write("text.gguf", "this is no model\n");
const truncatedModel = write("truncated.gguf", readFileSync(nanoModelPath).subarray(0, 100_000));
const emptyModel = write("empty.gguf", "");
const emptyModule = write("nothing.mjs", "export const x = 1;\n");

interface BadInput {
  readonly name: string;
  readonly args: readonly string[];
  readonly exit: 1 | 2;
  readonly code: string;
  /** What message and hint say. */
  readonly says: RegExp;
}

const bad = (name: string, args: readonly string[], exit: 1 | 2, code: string, says: RegExp): BadInput => ({
  name,
  args,
  exit,
  code,
  says,
});
const passkey = (...args: string[]): string[] => ["passkey", ...QUICK, ...args];

const inputs: BadInput[] = [
  bad("an unknown command", ["paskey"], 2, "KVFOLD_ARGUMENT", /passkey/),
  bad("an unknown option", ["passkey", "--ratoi", "4"], 2, "KVFOLD_ARGUMENT", /--ratio/),
  bad("an option without its value", ["passkey", "--json", "--ratio"], 2, "KVFOLD_ARGUMENT", /--ratio/),
  bad("a word too many", ["doctor", "who"], 2, "KVFOLD_ARGUMENT", /argument/),
  bad("eval without a task", ["eval", "ppl"], 2, "KVFOLD_ARGUMENT", /ppl/),
  bad("a list with a bad length", ["eval", "kl", "--tokens", "640,x"], 2, "KVFOLD_ARGUMENT", /--tokens/),
  bad("a list with a bad key", ["eval", "passkey", "--key", "digits,word"], 2, "KVFOLD_ARGUMENT", /--key/),
  bad("no windows", ["eval", "kl", "--windows", "0"], 2, "KVFOLD_ARGUMENT", /--windows/),
  bad(
    "a context that the windows do not fit",
    ["eval", "kl", "--tokens", "8192"],
    2,
    "KVFOLD_ARGUMENT",
    /--window 256/,
  ),
  bad("more windows than the text has", ["eval", "kl", "--windows", "5000"], 1, "KVFOLD_FILE", /room for/),
  bad("a text that is missing", ["eval", "kl", "--text", join(folder, "no.txt")], 1, "KVFOLD_FILE", /exist/),
  bad(
    "a result file in a folder that is missing",
    ["eval", "kl", "-o", join(folder, "no", "x.jsonl")],
    1,
    "KVFOLD_FILE",
    /folder/,
  ),
  bad(
    "a second reading of a prompt that is folded on the way",
    passkey("--fold-every", "64", "--strategy", "refit(queries=repeat)"),
    2,
    "KVFOLD_ARGUMENT",
    /second time/,
  ),
  bad("inspect without a file", ["inspect", "model"], 2, "KVFOLD_ARGUMENT", /file/),
  bad("a ratio of 0", passkey("--ratio", "0"), 2, "KVFOLD_RATIO", /at least 1/),
  bad("a ratio below 1", passkey("--ratio", "0.5"), 2, "KVFOLD_RATIO", /at least 1/),
  bad("a negative ratio", passkey("--ratio", "-4"), 2, "KVFOLD_RATIO", /at least 1/),
  bad("a ratio that is no number", passkey("--ratio", "NaN"), 2, "KVFOLD_RATIO", /at least 1/),
  bad("a ratio of 1e9", passkey("--ratio", "1e9"), 2, "KVFOLD_RATIO", /no cell/),
  bad("a list with a bad ratio", passkey("--ratio", "4,x"), 2, "KVFOLD_RATIO", /at least 1/),
  bad("pins that need more than the budget", passkey("--ratio", "32"), 2, "KVFOLD_BUDGET", /pin|cells/),
  bad("no tokens", ["passkey", "--tokens", "0"], 2, "KVFOLD_ARGUMENT", /--tokens/),
  bad("tokens in words", ["passkey", "--tokens", "many"], 2, "KVFOLD_ARGUMENT", /--tokens/),
  bad("fewer tokens than the prompt needs", ["passkey", "--tokens", "64"], 2, "KVFOLD_ARGUMENT", /more/),
  bad("more tokens than the context", ["passkey", "--tokens", "100000"], 2, "KVFOLD_ARGUMENT", /8192/),
  bad("an unknown strategy", passkey("--strategy", "maen"), 2, "KVFOLD_UNKNOWN_STRATEGY", /mean/),
  bad(
    "an unknown scorer",
    passkey("--strategy", "evict(by=keydif)"),
    2,
    "KVFOLD_UNKNOWN_STRATEGY",
    /keydiff/,
  ),
  bad("an unknown wrapper", passkey("--strategy", "pim > mean"), 2, "KVFOLD_UNKNOWN_STRATEGY", /pin/),
  bad(
    "an unknown strategy option",
    passkey("--strategy", "evict(bye=keydiff)"),
    2,
    "KVFOLD_UNKNOWN_OPTION",
    /by/,
  ),
  bad("a broken expression", passkey("--strategy", "pin(sinks=4 > mean"), 2, "KVFOLD_EXPRESSION", /\^/),
  bad("an empty expression", passkey("--strategy", ""), 2, "KVFOLD_EXPRESSION", /./),
  bad("a strategy module that is missing", passkey("--strategy", "./no.mjs"), 2, "KVFOLD_MODULE", /no\.mjs/),
  bad("a module without a strategy", passkey("--strategy", emptyModule), 2, "KVFOLD_MODULE", /nothing\.mjs/),
  bad("an unknown key kind", passkey("--key", "word"), 2, "KVFOLD_ARGUMENT", /digits or words/),
  bad("a depth beyond the text", passkey("--depths", "101"), 2, "KVFOLD_ARGUMENT", /--depths/),
  bad("no trials", ["passkey", "--trials", "0"], 2, "KVFOLD_ARGUMENT", /--trials/),
  bad("a bad cache type", passkey("--cache-type", "f64"), 2, "KVFOLD_ARGUMENT", /f16 or q8_0/),
  bad(
    "a q8_0 cache without flash attention",
    passkey("--cache-type", "q8_0", "--flash-attention", "off"),
    2,
    "KVFOLD_ARGUMENT",
    /flash/,
  ),
  bad("--demo with a strategy", passkey("--demo", "--strategy", "mean"), 2, "KVFOLD_ARGUMENT", /--demo/),
  bad(
    "--save-plan with two ratios",
    passkey("--ratio", "2,4", "--save-plan", "x"),
    2,
    "KVFOLD_ARGUMENT",
    /--save-plan/,
  ),
  bad(
    "a haystack that is missing",
    passkey("--haystack", join(folder, "no.txt")),
    1,
    "KVFOLD_FILE",
    /does not exist/,
  ),
  bad(
    "a haystack that is too short",
    passkey("--haystack", write("short.txt", "Too short.")),
    1,
    "KVFOLD_FILE",
    /short/,
  ),
  bad(
    "a model that is missing",
    ["passkey", "--model", join(folder, "no.gguf")],
    1,
    "KVFOLD_MODEL_FILE",
    /does not exist/,
  ),
  bad("a folder as model", ["passkey", "--model", folder], 1, "KVFOLD_MODEL_FILE", /not a file/),
  bad("a text file as model", ["inspect", "model", textModel], 1, "KVFOLD_MODEL_FILE", /not a GGUF/),
  bad("an empty file as model", ["inspect", "model", emptyModel], 1, "KVFOLD_MODEL_FILE", /not a GGUF/),
  bad("a truncated model", ["inspect", "model", truncatedModel], 1, "KVFOLD_MODEL_FILE", /./),
  bad("a plan that is missing", ["inspect", "plan", join(folder, "no.plan")], 1, "KVFOLD_FILE", /ENOENT/),
  bad("a folder as plan", ["inspect", "plan", folder], 1, "KVFOLD_FILE", /not a regular file/),
  bad("a text file as plan", ["inspect", "plan", textModel], 1, "KVFOLD_PLAN_FILE", /./),
];

describe.concurrent("bad input", () => {
  test.each(inputs)("$name", async ({ args, exit, code, says }) => {
    const {
      code: exitCode,
      stdout,
      stderr,
    } = await runCli(args.includes("--json") ? args : [...args, "--json"]);
    expect(stdout).toBe("");
    const { error } = parseOnlyLine(stderr) as { error: { code: string; message: string; hint: string } };
    expect(error.code).toBe(code);
    expect(`${error.message}\n${error.hint}`).toMatch(says);
    expect(error.message).not.toMatch(STACK_FRAME);
    expect(exitCode).toBe(exit);
  });

  test("without --json it is a readable block", async () => {
    const { code, stdout, stderr } = await runCli(["passkey", "--strategy", "pin(sinks=4 > mean"]);
    expect(code).toBe(2);
    expect(stdout).toBe("");
    expect(stderr).toMatch(/^kvfold: /);
    expect(stderr).toMatch(/^ *\^/m);
    expect(stderr).toContain("KVFOLD_EXPRESSION");
    expect(stderr).not.toMatch(STACK_FRAME);
  });

  test.each([
    [["--verbose"], {}],
    [[], { KVFOLD_DEBUG: "1" }],
  ])("the stack comes with %j %j", async (args, env) => {
    const { stderr } = await runCli(["passkey", "--strategy", "maen", ...args], { env });
    expect(stderr).toMatch(STACK_FRAME);
  });
});

describe.concurrent("help", () => {
  test.each([
    [[], /passkey[\s\S]*inspect[\s\S]*list[\s\S]*doctor/],
    [["--help"], /passkey[\s\S]*inspect[\s\S]*list[\s\S]*doctor/],
    [["passkey", "--help"], /Examples:[\s\S]*kvfold passkey/],
    [["eval"], /kl[\s\S]*passkey[\s\S]*compare/],
    [["eval", "kl", "--help"], /Examples:[\s\S]*kvfold eval kl/],
    [["eval", "passkey", "--help"], /Examples:[\s\S]*kvfold eval passkey/],
    [["eval", "compare", "--help"], /Examples:[\s\S]*kvfold eval compare/],
    [["inspect"], /model[\s\S]*plan/],
    [["inspect", "--help"], /model[\s\S]*plan/],
    [["inspect", "model", "--help"], /Examples:[\s\S]*kvfold inspect model/],
    [["inspect", "plan", "--help"], /Examples:[\s\S]*kvfold inspect plan/],
    [["list", "--help"], /Examples:[\s\S]*kvfold list/],
    [["doctor", "--help"], /Examples:[\s\S]*kvfold doctor/],
  ])("%j", async (args, says) => {
    const { code, stdout, stderr } = await runCli(args);
    expect(stdout).toMatch(says);
    expect(stderr).toBe("");
    expect(code).toBe(0);
  });

  test.each([["--help"], ["bench", "--help"], ["eval", "--help"], ["inspect", "--help"]])(
    "%s fits 60 columns",
    async (...args) => {
      const { stdout } = await runCli(args, { env: { COLUMNS: "60" } });
      for (const line of stdout.split("\n")) expect(line.length).toBeLessThanOrEqual(60);
    },
  );

  test("--version prints the version of the package", async () => {
    const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as {
      version: string;
    };
    expect((await runCli(["--version"])).stdout.trim()).toBe(version);
  });
});
