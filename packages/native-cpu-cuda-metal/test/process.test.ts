/** What must not take the process down: a Node worker that ends with a job in flight; tools that are missing. */
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { describe, expect, it } from "vitest";
import { backendInfo } from "../src/load.js";

const info = backendInfo();
const path = info.loaded ? info.path : "";
const script = fileURLToPath(new URL("../scripts/build-native.mjs", import.meta.url));

/** Starts a job of about half a second in the words of the add-on, then reports. */
const JOB = `
  const { parentPort, workerData } = require("node:worker_threads");
  const addon = require(workerData);
  const cells = 2048, dim = 128, heads = 8, bytes = cells * heads * dim * 4;
  const layer = { kvHeads: heads, keyDim: dim, valueDim: dim, keyType: 0, valueType: 0, valueTransposed: false,
    ropePairing: 1, ropeDims: dim, ropeFrequencies: new Float64Array(dim / 2).fill(0.01), hadamardKey: 0, hadamardValue: 0 };
  const memory = addon.createMemory([layer], cells, [new Uint8Array(bytes)], [new Uint8Array(bytes)]);
  const slots = Uint32Array.from({ length: cells }, (_, i) => i);
  const request = { memory, backend: "reference", threads: 1, layer: 0, slots, positions: new Int32Array(slots), sources: null };
  for (let i = 0; i < 4; i++) addon.keyStats(request).catch(() => {});
  parentPort.postMessage("started");
`;

describe("a Node worker", () => {
  it("can be terminated while jobs run", async () => {
    for (let round = 0; round < 3; round++) {
      const worker = new Worker(JOB, { eval: true, workerData: path });
      const [message] = await once(worker, "message");
      expect(message).toBe("started");
      expect(await worker.terminate()).toBe(1);
    }
  });
});

describe("build:native", () => {
  const run = (env: NodeJS.ProcessEnv, ...args: string[]) =>
    spawnSync(process.execPath, [script, ...args], { env, encoding: "utf8" });

  it("says in one line that CMake is missing", () => {
    const { status, stderr } = run({ PATH: "/nonexistent" });
    expect(status).toBe(1);
    expect(stderr).toMatch(/^\[kvfold\] CMake is missing; install [^\n]+\n$/);
  });
  it("says in one line that there is no compiler", () => {
    const { status, stderr } = run({ ...process.env, CXX: "/nonexistent/c++" });
    expect(status).toBe(1);
    expect(stderr).toMatch(/^\[kvfold\] no C\+\+ compiler found \(\/nonexistent\/c\+\+\)[^\n]+\n$/);
  });
  it("refuses arguments that it does not know", () => {
    expect(run({ ...process.env }, "--fast")).toMatchObject({
      status: 1,
      stderr: expect.stringContaining("--fast"),
    });
    expect(run({ ...process.env, KVFOLD_NATIVE_JOBS: "0" })).toMatchObject({ status: 1 });
  });
});
