/** Runs `kvfold` as its users do: as a child process. */
import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

const executable = fileURLToPath(new URL("../bin/kvfold.js", import.meta.url));

export interface Outcome {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly onStart?: (child: ChildProcess) => void;
  /** Called with all of standard error so far, whenever it grows. */
  readonly onStderr?: (stderr: string, child: ChildProcess) => void;
}

/** Threads of llama.cpp spin while they wait; one is kind to the tests that run beside. */
export const QUICK = ["--tokens", "640", "--trials", "1", "--threads", "1"] as const;

export function runCli(args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  const { KVFOLD_DEBUG: _, NO_COLOR: __, COLUMNS: ___, ...environment } = process.env;
  const child = spawn(process.execPath, [executable, ...args], {
    cwd: options.cwd,
    env: { ...environment, ...options.env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  options.onStart?.(child);
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
    options.onStderr?.(stderr, child);
  });
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}

/** The only line of a text, parsed. */
export function parseOnlyLine(text: string): Record<string, unknown> {
  const lines = text.trimEnd().split("\n");
  if (lines.length !== 1) throw new Error(`expected one line, got ${lines.length}: ${text.slice(0, 500)}`);
  return JSON.parse(lines[0]!) as Record<string, unknown>;
}

/** A frame of a stack trace at the start of a line. */
export const STACK_FRAME = /^\s+at .+[:(]\d+/m;
