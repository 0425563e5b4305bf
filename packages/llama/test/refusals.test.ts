/** Whatever is wrong from outside is a typed error with a next step, and nothing crashes. */
import type { KvfoldError } from "@kvfold/core";
import { describe, expect, it } from "vitest";
import { loadModel } from "../src/index.js";
import { LLAMA, open, openModel, refused, sameBytes, someTokens, temporaryFile } from "./fixtures.js";
import { alibiFile, mambaFile, mropeFile } from "./tiny-model/odd-models.js";

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
    await refused(model.tokenize("text"), "KVFOLD_MODEL_UNSUPPORTED");
    await refused(model.detokenize([1]), "KVFOLD_MODEL_UNSUPPORTED");
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
    // nor does it stop this context when its work comes to the thread on which that happened
    for (let token = 0; token < 16; token++) await sequence.decode(token);
  });
});
