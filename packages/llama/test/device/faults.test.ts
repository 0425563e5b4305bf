/** Whatever fails in a fold on a device, every byte is back; and what cannot be used is refused with its reason. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { KvfoldError } from "@kvfold/core";
import { fakeShape } from "@kvfold/testkit";
import { describe, expect, it, onTestFinished } from "vitest";
import { deviceAccess } from "../../src/device/access.js";
import type { DeviceFaults } from "../../src/device/executor.js";
import { trialFold } from "../../src/device/trial.js";
import { loadModel } from "../../src/index.js";
import { stateOf } from "../../src/sequence/sequence.js";
import { tinyModelFile } from "../../src/tiny-model/tiny-model.js";
import { applied, LLAMA, pairs, refused, sameBytes, someTokens, temporaryFile } from "../fixtures.js";
import { addon, DEVICES, host } from "./devices.js";
import { openOn } from "./open.js";

describe.each(DEVICES)("on %s", (device) => {
  it.each([
    { cacheType: "f16", flashAttention: device.startsWith("Vulkan") ? "on" : "off", undoOnHost: false },
    { cacheType: "q8_0", flashAttention: "on", undoOnHost: true },
  ] as const)(
    "undoes a failure at every point of a commit ($cacheType)",
    async ({ undoOnHost, ...cache }) => {
      const context = await openOn(device, LLAMA, cache);
      const sequence = context.sequence();
      await sequence.prefill(someTokens(48, LLAMA.vocabulary));
      const before = await sequence.stateBytes();
      const cells = sequence.cellMap();
      const state = stateOf(sequence);
      const { addon: own, handle, raw, layout } = state.context;
      const tensors = own.cacheTensors(handle, state.id, layout!.frequencies);
      const memory = { tensors, capacity: raw.cells, layers: layout!.layers };
      const faults: DeviceFaults = { commitAt: null, commitPoints: 0 };
      const executor = deviceAccess(own, host, memory, { faults, undoOnHost, scratchBytes: 1 });
      const snapshot = await sequence.snapshot();
      state.faults = { executor };
      await applied(sequence, (view) => pairs(view));
      await sequence.restore(snapshot);
      const points = faults.commitPoints;
      // four for each head of the keys and of the values
      expect(points).toBe(4 * 2 * LLAMA.layers * LLAMA.kvHeads);
      for (let at = 0; at < points; at++) {
        faults.commitAt = at;
        const failed = await applied(sequence, (view) => pairs(view)).then(
          () => null,
          (error: unknown) => error,
        );
        expect(failed, `point ${at}`).toBeInstanceOf(KvfoldError);
        expect((failed as KvfoldError).code, `point ${at}`).toBe("KVFOLD_FAULT");
        expect(sameBytes(await sequence.stateBytes(), before), `point ${at}`).toBe(true);
        expect(sequence.cellMap()).toEqual(cells);
      }
    },
  );

  const { layers } = fakeShape({ layers: 1, keyType: "f16" });

  it("is trusted after a trial fold, and not when it copies wrong cells or takes nothing back", async () => {
    expect(await trialFold(addon, host, device, layers, 1)).toBe(true);
    const shifts: typeof addon = {
      ...addon,
      writeFold: (fold, chunk, failAt) =>
        addon.writeFold(fold, { ...chunk, copiedFrom: chunk.copiedFrom.map((unit) => unit ^ 1) }, failAt),
    };
    expect(await trialFold(shifts, host, device, layers, 1)).toContain("gives wrong keys");
    const forgets: typeof addon = { ...addon, rollBackFold: async () => {} };
    expect(await trialFold(forgets, host, device, layers, 1)).toContain("cannot be taken back");
  });

  it("refuses slices that are no whole words", async () => {
    const { layers: small } = fakeShape({ layers: 1, keyType: "q8_0" });
    expect(await trialFold(addon, host, device, small, 1)).toContain("32-bit words");
  });

  it("refuses chunks that reach outside of the cache", async () => {
    const context = await openOn(device, LLAMA, { cacheType: "f16" });
    const sequence = context.sequence();
    await sequence.prefill(someTokens(8, LLAMA.vocabulary));
    const state = stateOf(sequence);
    const { handle, layout } = state.context;
    const tensors = addon.cacheTensors(handle, 0, layout!.frequencies);
    const before = await sequence.stateBytes();
    const none = new Int32Array(0);
    const sums = {
      to: none,
      offsets: Uint32Array.of(0),
      from: none,
      weights: new Float32Array(0),
      turns: none,
    };
    const empty = { givenTo: none, given: new Uint8Array(0), sums, turned: sums };
    const good = {
      layer: 0,
      kind: 0,
      firstHead: 0,
      heads: 1,
      wholeCells: false,
      cells: 8,
      ...empty,
    } as const;
    const fold = await addon.openFold(tensors, 4, true);
    for (const wrong of [
      { ...good, copiedFrom: Int32Array.of(1 << 20), copiedTo: Int32Array.of(0) },
      { ...good, copiedFrom: Int32Array.of(-1), copiedTo: Int32Array.of(0) },
      { ...good, copiedFrom: Int32Array.of(0), copiedTo: Int32Array.of(1) },
      { ...good, copiedFrom: Int32Array.of(0, 2), copiedTo: Int32Array.of(0) },
      { ...good, layer: 99, copiedFrom: none, copiedTo: none },
      { ...good, heads: 99, copiedFrom: Int32Array.of(0), copiedTo: Int32Array.of(0) },
      { ...good, copiedFrom: none, copiedTo: none, givenTo: Int32Array.of(0) },
      { ...good, copiedFrom: none, copiedTo: none, sums: { ...sums, to: Int32Array.of(0) } },
      { ...good, copiedFrom: new Int32Array(5), copiedTo: new Int32Array(5) },
    ]) {
      await refused(
        (async () => addon.writeFold(fold, wrong as typeof good & typeof wrong, -1))(),
        "KVFOLD_ARGUMENT",
      );
    }
    addon.closeFold(fold);
    await refused((async () => addon.rollBackFold(fold))(), "KVFOLD_DISPOSED");
    expect(sameBytes(await sequence.stateBytes(), before)).toBe(true);
  });
});

describe("device libraries", () => {
  it("are refused when they are not there, or of another build", async () => {
    const modelPath = await temporaryFile(tinyModelFile(LLAMA));
    await refused(loadModel({ modelPath, deviceLibrary: "" }), "KVFOLD_ARGUMENT");
    await refused(loadModel({ modelPath, deviceLibrary: "nowhere/libggml-none.so" }), "KVFOLD_ARGUMENT");
    const folder = await mkdtemp(join(tmpdir(), "kvfold-device-"));
    onTestFinished(() => rm(folder, { recursive: true, force: true }));
    const deviceLibrary = join(folder, "libggml-none.so");
    await writeFile(deviceLibrary, "no library");
    await refused(loadModel({ modelPath, deviceLibrary }), "KVFOLD_LLAMA_VERSION");
    const metadata = (release: string): string => JSON.stringify({ buildOptions: { llamaCpp: { release } } });
    await writeFile(join(folder, "_nlcBuildMetadata.json"), metadata("v0.4.0"));
    await refused(loadModel({ modelPath, deviceLibrary }), "KVFOLD_LLAMA_VERSION");
    await writeFile(join(folder, "_nlcBuildMetadata.json"), metadata("v0.5.0"));
    await refused(loadModel({ modelPath, deviceLibrary }), "KVFOLD_UNSUPPORTED");
  });

  it("are needed for layers on a device", async () => {
    const modelPath = await temporaryFile(tinyModelFile(LLAMA));
    for (const gpuLayers of [-1, 0.5, Number.NaN])
      await refused(loadModel({ modelPath, gpuLayers }), "KVFOLD_ARGUMENT");
    if (DEVICES.length > 1) return;
    const error = await refused(loadModel({ modelPath, gpuLayers: 1 }), "KVFOLD_UNSUPPORTED");
    expect(error.hint).toContain("KVFOLD_LLAMA_DEVICE_LIBRARY");
  });
});
