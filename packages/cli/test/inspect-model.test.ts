/** `kvfold inspect model` on the embedded model. */
import { describe, expect, test } from "vitest";
import { parseOnlyLine, runCli } from "./run-cli.js";

/** 6 layers, 2 KV heads of 64 + 64 channels. */
const CHANNELS = 6 * 2 * (64 + 64);

describe("inspect model nano", () => {
  test.each([
    ["f16", 2],
    // 32 values and one f16 scale in 34 bytes
    ["q8_0", 34 / 32],
  ])("--json tells the cost of a %s cache", async (type, bytesPerChannel) => {
    const { code, stdout } = await runCli(["inspect", "model", "nano", "--cache-type", type, "--json"]);
    expect(code).toBe(0);
    expect(parseOnlyLine(stdout)).toMatchObject({
      command: "inspect-model",
      model: "nano",
      architecture: "llama",
      parameters: 7_998_720,
      layers: 6,
      trainedContext: 8192,
      vocabularySize: 8192,
      fileBytes: 8_776_000,
      supported: true,
      reason: null,
      cache: {
        type,
        kvHeads: 2,
        keyDim: 64,
        valueDim: 64,
        bytesPerToken: CHANNELS * bytesPerChannel,
        bytesAtContext: CHANNELS * bytesPerChannel * 8192,
      },
    });
  });

  test("for people it is a list that fits the terminal", async () => {
    const { code, stdout } = await runCli(["inspect", "model", "nano"], { env: { COLUMNS: "60" } });
    expect(code).toBe(0);
    expect(stdout).toMatch(/can be folded +yes/);
    expect(stdout).toMatch(/a token +3\.0 KiB/);
    for (const line of stdout.split("\n")) expect(line.length).toBeLessThanOrEqual(60);
  });
});
