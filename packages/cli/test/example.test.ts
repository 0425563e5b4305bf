/** The example of the repository does what its page says. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";

const example = fileURLToPath(
  new URL("../../../examples/01-fold-and-go-on/fold-and-go-on.mjs", import.meta.url),
);

test("fold and go on", async () => {
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [example]);
  expect(stderr).toBe("");
  const [, before, after, bytes] = /: (\d+) -> (\d+) cells, (\d+) bytes freed/.exec(stdout)!.map(Number);
  expect(after).toBe(Math.ceil(before! / 4));
  expect(bytes).toBe((before! - after!) * 3072);
  expect(stdout).toContain("The pass key is 71406");
});
