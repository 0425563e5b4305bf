/** Wrong model files and wrong libraries: a typed error with a next step. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { KvfoldError } from "@kvfold/core";
import { describe, expect, it, onTestFinished } from "vitest";
import { loadModel } from "../src/index.js";
import { findLibraries } from "../src/native/libraries.js";
import { writeGguf } from "../src/tiny-model/gguf-writer.js";
import { tinyModelFile } from "../src/tiny-model/tiny-model.js";
import { LLAMA, refused, temporaryFile } from "./fixtures.js";

const load = (modelPath: string): Promise<unknown> => loadModel({ modelPath });

describe("model files", () => {
  const whole = tinyModelFile(LLAMA);
  const header = (tensors: bigint, keys: bigint): Buffer => {
    const bytes = Buffer.alloc(24);
    bytes.write("GGUF");
    bytes.writeUInt32LE(3, 4);
    bytes.writeBigUInt64LE(tensors, 8);
    bytes.writeBigUInt64LE(keys, 16);
    return bytes;
  };
  const files: readonly [string, Buffer | string][] = [
    ["an empty file", ""],
    ["a text file", "this is no model, only a text with the name of one\n".repeat(10)],
    ["four bytes", "GGUF"],
    ["a header with 2^63 keys", header(1n, 1n << 63n)],
    ["a header with 2^40 tensors", header(1n << 40n, 0n)],
    ["a header that ends early", whole.subarray(0, 100)],
    ["a model cut off in its header", whole.subarray(0, 1500)],
    ["a model cut off in its tensors", whole.subarray(0, whole.length - 5000)],
    ["a file without tensors and keys", header(0n, 0n)],
    ["a key of 2^50 bytes", Buffer.concat([header(0n, 1n), Buffer.from([0, 0, 0, 0, 0, 0, 4, 0])])],
    ["no attention heads", tinyModelFile({ ...LLAMA, extra: { "attention.head_count": { u32: 0 } } })],
    ["more layers than tensors", tinyModelFile({ ...LLAMA, extra: { block_count: { u32: 40 } } })],
    ["an unknown architecture", writeGguf({ "general.architecture": "perpetuum" }, [])],
    ["no architecture", writeGguf({ "general.name": "nothing" }, [])],
  ];

  it.each(files)("refuses %s", async (_, bytes) => {
    const error = await refused(load(await temporaryFile(bytes)), "KVFOLD_MODEL_FILE");
    expect(error.hint).toBeTruthy();
  });

  it("refuses what is not there, a folder, and no path at all", async () => {
    const folder = await mkdtemp(join(tmpdir(), "kvfold-llama-test-"));
    onTestFinished(() => rm(folder, { recursive: true, force: true }));
    expect((await refused(load(join(folder, "none.gguf")), "KVFOLD_MODEL_FILE")).message).toContain(
      "does not exist",
    );
    expect((await refused(load(folder), "KVFOLD_MODEL_FILE")).message).toContain("is a folder");
    await refused(load(""), "KVFOLD_ARGUMENT");
    await refused(load(undefined as unknown as string), "KVFOLD_ARGUMENT");
    await refused(loadModel(undefined as never), "KVFOLD_ARGUMENT");
  });

  it("stops loading when told to", async () => {
    const path = await temporaryFile(whole);
    await refused(loadModel({ modelPath: path, signal: AbortSignal.abort() }), "KVFOLD_ABORTED");
  });

  it("tells its progress", async () => {
    const told: number[] = [];
    const model = await loadModel({
      modelPath: await temporaryFile(whole),
      onProgress: (fraction) => told.push(fraction),
    });
    await model.dispose();
    expect(told.at(-1)).toBe(1);
    expect(told.every((fraction) => fraction >= 0 && fraction <= 1)).toBe(true);
  });
});

describe("libraries", () => {
  it("refuses another version and a missing package, and says what to install", () => {
    const missing = (): string => {
      throw new Error("not found");
    };
    for (const resolve of [missing, () => join(process.cwd(), "package.json")]) {
      try {
        findLibraries(resolve);
        expect.unreachable();
      } catch (error) {
        expect(error).toMatchObject({ code: "KVFOLD_LLAMA_VERSION" });
        expect((error as KvfoldError).hint).toContain("@node-llama-cpp/linux-x64@3.22.1");
      }
    }
  });
});
