/** A reader that goes away, and terminals without colours. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";

const executable = fileURLToPath(new URL("../bin/kvfold.js", import.meta.url));

test.skipIf(process.platform === "win32")("a closed pipe ends the command quietly", async () => {
  const script = `set -o pipefail; "${process.execPath}" "${executable}" list | head -n 1`;
  for (let i = 0; i < 3; i++) {
    const { stdout, stderr } = await promisify(execFile)("bash", ["-c", script]);
    expect(stdout.trim().split("\n")).toHaveLength(1);
    expect(stderr).toBe("");
  }
});
