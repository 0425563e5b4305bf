/** Whatever is wrong from outside is a typed error with a next step, and nothing crashes. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { KvfoldError, type KvfoldErrorCode } from "@kvfold/core";
import { describe, expect, it, onTestFinished } from "vitest";
import { loadModel } from "../src/index.js";
import { findLibraries } from "../src/native/libraries.js";
import { writeGguf } from "../src/tiny-model/gguf-writer.js";
import { tinyModelFile } from "../src/tiny-model/tiny-model.js";
import { LLAMA, open, openModel, sameBytes, someTokens, temporaryFile } from "./fixtures.js";
import { alibiFile, mambaFile, mropeFile } from "./tiny-model/odd-models.js";

async function refused(work: Promise<unknown>, code: KvfoldErrorCode): Promise<KvfoldError> {
  const error = await work.then(
    () => null,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(KvfoldError);
  expect(error).toMatchObject({ code });
  return error as KvfoldError;
}

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

describe("contexts", () => {
  it.each([
    [{ contextSize: 0 }, "KVFOLD_ARGUMENT"],
    [{ contextSize: 1.5 }, "KVFOLD_ARGUMENT"],
    [{ contextSize: Number.NaN }, "KVFOLD_ARGUMENT"],
    [{ contextSize: 1e9 }, "KVFOLD_ARGUMENT"],
    [{ contextSize: 2 ** 26, sequences: 256 }, "KVFOLD_CONTEXT"],
    [{ sequences: 257 }, "KVFOLD_ARGUMENT"],
    [{ batchSize: 0 }, "KVFOLD_ARGUMENT"],
    [{ threads: -1 }, "KVFOLD_ARGUMENT"],
    [{ cacheType: "q2_k" }, "KVFOLD_ARGUMENT"],
    [{ flashAttention: "auto" }, "KVFOLD_ARGUMENT"],
    [{ cacheType: "q8_0", flashAttention: "off" }, "KVFOLD_ARGUMENT"],
    [{ contextsize: 512 }, "KVFOLD_ARGUMENT"],
    [null, "KVFOLD_ARGUMENT"],
  ] as const)("refuse %j", async (options, code) => {
    const model = await openModel(LLAMA);
    await refused(model.createContext(options as never), code);
  });

  it("refuse sequences that are not there, and work after they were freed", async () => {
    const { context, sequence } = await open(LLAMA, { sequences: 2 });
    for (const id of [2, -1, 0.5, Number.NaN]) {
      expect(() => context.sequence(id)).toThrow(expect.objectContaining({ code: "KVFOLD_ARGUMENT" }));
    }
    expect(context.sequence(0)).toBe(sequence);
    await sequence.prefill([1, 2, 3]);
    const lease = await sequence.lease();
    await context.dispose();
    await context.dispose();
    for (const call of [
      () => sequence.decode(1),
      () => sequence.lease(),
      () => sequence.clear(),
      () => sequence.stateBytes(),
      () => lease.keys(0, "stored"),
    ]) {
      await refused(call(), "KVFOLD_DISPOSED");
    }
    expect(() => sequence.cellMap()).toThrow(expect.objectContaining({ code: "KVFOLD_DISPOSED" }));
    expect(() => context.sequence()).toThrow(expect.objectContaining({ code: "KVFOLD_DISPOSED" }));
  });

  it("end well when freed in the middle of an evaluation", async () => {
    const { context, sequence } = await open(LLAMA, { contextSize: 4096 });
    const reading = sequence.prefill(someTokens(4000, LLAMA.vocabulary));
    reading.catch(() => {});
    await context.dispose();
    const outcome = await reading.then(
      () => "read",
      (error: KvfoldError) => error.code,
    );
    expect(["KVFOLD_DISPOSED", "KVFOLD_ABORTED", "read"]).toContain(outcome);
  });

  it("outlive their model's handle", async () => {
    const { model, sequence } = await open(LLAMA);
    await model.dispose();
    await expect(sequence.prefill([1, 2, 3])).resolves.toMatchObject({ tokens: 3 });
    await refused(model.createContext(), "KVFOLD_DISPOSED");
  });
});

describe("tokens", () => {
  it.each([[[]], [[-1]], [[LLAMA.vocabulary]], [[0.5]], [[Number.NaN]], ["text"], [null]])(
    "refuse %j",
    async (tokens) => {
      const { sequence } = await open(LLAMA);
      await refused(sequence.prefill(tokens as never), "KVFOLD_ARGUMENT");
      await refused(sequence.evaluate(tokens as never, { logits: "all" }), "KVFOLD_ARGUMENT");
      expect(sequence.cells).toBe(0);
    },
  );

  it("refuse to overflow the context, and keep what was there", async () => {
    const { context, sequence } = await open(LLAMA, { contextSize: 256 });
    expect(context.contextSize).toBe(256);
    await sequence.prefill(someTokens(200, LLAMA.vocabulary));
    const error = await refused(sequence.prefill(someTokens(57, LLAMA.vocabulary)), "KVFOLD_CACHE_FULL");
    expect(error.message).toContain("200 of 256");
    expect(sequence.cells).toBe(200);
    await sequence.prefill(someTokens(56, LLAMA.vocabulary));
    await refused(sequence.decode(1), "KVFOLD_CACHE_FULL");
    await refused(sequence.generate({ maxTokens: 5, ignoreEnd: true }), "KVFOLD_CACHE_FULL");
  });

  it("stop at an abort, keeping whole batches", async () => {
    const { sequence } = await open(LLAMA, { contextSize: 4096, batchSize: 64 });
    const controller = new AbortController();
    const reading = sequence.prefill(someTokens(3000, LLAMA.vocabulary), {
      signal: controller.signal,
      onProgress: (done) => {
        if (done >= 128) controller.abort();
      },
    });
    await refused(reading, "KVFOLD_ABORTED");
    expect(sequence.cells).toBeGreaterThanOrEqual(128);
    expect(sequence.cells % 64).toBe(0);
    expect(sequence.cells).toBeLessThan(3000);
    expect(sequence.cellMap().slots).toHaveLength(sequence.cells);
    await expect(sequence.decode(1)).resolves.toHaveLength(LLAMA.vocabulary);
  });

  it("refuse to generate from nothing, or an odd number of tokens", async () => {
    const { model, sequence } = await open(LLAMA);
    await refused(sequence.generate({ maxTokens: 5 }), "KVFOLD_ARGUMENT");
    await sequence.prefill([1]);
    for (const maxTokens of [0, -1, 0.5, Number.NaN])
      await refused(sequence.generate({ maxTokens }), "KVFOLD_ARGUMENT");
    await refused(sequence.generate(undefined as never), "KVFOLD_ARGUMENT");
    await refused(sequence.rewind(-1), "KVFOLD_ARGUMENT");
    await refused(sequence.rewind(9), "KVFOLD_ARGUMENT");
    expect(() => model.tokenize("text")).toThrow(
      expect.objectContaining({ code: "KVFOLD_MODEL_UNSUPPORTED" }),
    );
    expect(() => model.isEndOfGeneration(1e9)).toThrow(expect.objectContaining({ code: "KVFOLD_ARGUMENT" }));
  });
});

describe("caches that are not folded", () => {
  it.each([
    ["recurrent state", mambaFile],
    ["several positions a token", mropeFile],
    ["distance (ALiBi)", alibiFile],
  ])("decode, and say why when they are to be folded: %s", async (reason, file) => {
    const model = await loadModel({ modelPath: await temporaryFile(file()) });
    const context = await model.createContext({ contextSize: 256, threads: 1 });
    const sequence = context.sequence();
    await sequence.prefill([1, 2, 3]);
    const plain = await sequence.decode(4);
    expect(plain.every(Number.isFinite)).toBe(true);
    expect(context.supported).toContain(reason);
    const error = await refused(sequence.lease(), "KVFOLD_UNSUPPORTED");
    expect(error.message).toContain(reason);
    expect(() => sequence.shape).toThrow(expect.objectContaining({ code: "KVFOLD_UNSUPPORTED" }));
    expect(() => sequence.cellMap()).toThrow(expect.objectContaining({ code: "KVFOLD_UNSUPPORTED" }));
    expect(sequence.bytes).toBe(0);
    const snapshot = await sequence.snapshot();
    await sequence.clear();
    await sequence.restore(snapshot);
    expect(sequence.cells).toBe(4);
    await sequence.clear();
    await sequence.prefill([1, 2, 3]);
    expect(sameBytes(await sequence.decode(4), plain)).toBe(true);
    await context.dispose();
    await model.dispose();
  });

  it("turns an assertion of llama.cpp into an error", async () => {
    // this architecture wants all channels of a head rotated, and asserts it while the graph is built
    const model = await openModel({
      ...LLAMA,
      architecture: "qwen3",
      extra: { "rope.dimension_count": { u32: 32 } },
    });
    const error = await refused(model.createContext({ contextSize: 256, threads: 1 }), "KVFOLD_CONTEXT");
    expect(error.message).toContain("GGML_ASSERT");
    const { sequence } = await open(LLAMA);
    await expect(sequence.prefill([1, 2])).resolves.toMatchObject({ tokens: 2 });
  });
});
