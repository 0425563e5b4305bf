/** A worker thread that ends in the middle of an evaluation does not take the process with it. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { tinyModelFile } from "../src/tiny-model/tiny-model.js";
import { LLAMA, temporaryFile } from "./fixtures.js";

const built = fileURLToPath(new URL("../dist/index.js", import.meta.url));

const WORKER = `
  import { parentPort, workerData } from "node:worker_threads";
  const { loadModel } = await import(workerData.built);
  const model = await loadModel({ modelPath: workerData.modelPath });
  const context = await model.createContext({ contextSize: 4096, threads: 1 });
  void context.sequence().prefill(Array.from({ length: 4000 }, (_, i) => i % 90)).catch(() => {});
  parentPort.postMessage("reading");
`;

const MAIN = `
  import { Worker } from "node:worker_threads";
  const [built, modelPath, file] = process.argv.slice(2);
  for (let round = 0; round < 5; round++) {
    const worker = new Worker(file, { workerData: { built, modelPath } });
    await new Promise((resolve, reject) => { worker.once("message", resolve); worker.once("error", reject); });
    await worker.terminate();
  }
  console.log("survived");
`;

it("survives workers that are terminated while they decode", async () => {
  const modelPath = await temporaryFile(tinyModelFile(LLAMA));
  const args = [
    await temporaryFile(MAIN, "main.mjs"),
    built,
    modelPath,
    await temporaryFile(WORKER, "worker.mjs"),
  ];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    encoding: "utf8",
    timeout: 120_000,
  });
  expect(stderr).toBe("");
  expect(stdout.trim()).toBe("survived");
  expect(status).toBe(0);
});
