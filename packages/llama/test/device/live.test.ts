/** A live cache folded by the ggml executor against the same cells folded by the native one. */
import { keepPlan, type QuerySample } from "@kvfold/core";
import { type Bound, boundFor, expectWithin, fitted, shared } from "@kvfold/testkit";
import { describe, expect, it } from "vitest";
import type { ContextOptions } from "../../src/context/options.js";
import type { LlamaSequence } from "../../src/index.js";
import {
  applied,
  CACHES,
  cacheName,
  everyNth,
  LLAMA,
  pairs,
  QWEN,
  randomComposite,
  refused,
  SPECS,
  sameBytes,
  someTokens,
} from "../fixtures.js";
import { DEVICES } from "./devices.js";
import { applyBoth, openOn, type Twins, twins } from "./open.js";

const COUNT = 96;

/** Rows of two sequences as floats, with the bound of a fold between them. */
async function expectSameRows(
  { device, host }: Pick<Twins, "device" | "host">,
  rotated: boolean,
  label: string,
): Promise<void> {
  const [own, other] = [await device.lease(), await host.lease()];
  for (const [layer, { keyType, valueType, hadamard }] of own.shape.layers.entries()) {
    for (const side of ["keys", "values"] as const) {
      const read = (view: typeof own) => (side === "keys" ? view.keys(layer, "stored") : view.values(layer));
      const [got, want] = [await read(own), await read(other)];
      const magnitude = want.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      const options = { members: 4, magnitude: 2 * magnitude, against: "stored" } as const;
      const keys = side === "keys" ? { rotated, hadamard: hadamard.key } : {};
      const bound = boundFor("fold", side === "keys" ? keyType : valueType, { ...options, ...keys });
      expectWithin(
        got,
        want,
        seen(bound, hadamard[side === "keys" ? "key" : "value"]),
        `${label}, ${side} ${layer}`,
      );
    }
  }
  own.release();
  other.release();
}

/** Rows are compared as attention sees them: a rounding step of a stored channel is spread over its Hadamard block. */
const seen = (bound: Bound, hadamard: number): Bound =>
  hadamard === 0 ? bound : { ...bound, ofBlockMax: bound.ofBlockMax * Math.sqrt(hadamard), block: hadamard };

/** The next tokens on both, within the bound of logits on the same cache. */
async function expectSameLogits(
  { device, host }: Pick<Twins, "device" | "host">,
  cache: ContextOptions,
  layers: number,
  label: string,
): Promise<void> {
  for (const token of [3, 14, 15]) {
    const bound = boundFor("logits", cache.cacheType!, {
      ...{ flashAttention: cache.flashAttention === "on", layers, cells: device.cells, maxBias: 2 },
      lastPosition: device.nextPosition,
    });
    expectWithin(await device.decode(token), await host.decode(token), bound, `${label}, token ${token}`);
  }
}

describe.each(DEVICES)("on %s", (name) => {
  const caches = CACHES.filter(({ flashAttention }) => flashAttention === "on" || !name.startsWith("Vulkan"));

  it.skipIf(caches.length === CACHES.length)("refuses transposed values with the way out", async () => {
    const context = await openOn(name, LLAMA, { cacheType: "f16", flashAttention: "off" });
    expect(context.supported).toContain('flashAttention "on"');
    await context.sequence().prefill([1, 2, 3]);
    await refused(context.sequence().lease(), "KVFOLD_UNSUPPORTED");
  });

  describe.each(SPECS)("$architecture", (spec) => {
    describe.each(caches)("$cacheType, flash attention $flashAttention", (cache) => {
      const opened = (): Promise<Twins> => twins(name, spec, cache, someTokens(COUNT, spec.vocabulary));

      it("keeps cells byte for byte, and takes heads apart byte for byte", async () => {
        const both = await opened();
        expect(both.context.supported).toBe(true);
        expect(both.context.devices).toEqual([name]);
        await applyBoth(both, (view) => keepPlan(view, everyNth(COUNT, 2)));
        await applyBoth(both, (view) => randomComposite(view, 40, 1));
        expect(sameBytes(await both.device.stateBytes(), await both.host.stateBytes())).toBe(true);
        await applyBoth(both, (view) => randomComposite(view, 20, 2));
        expect(sameBytes(await both.device.stateBytes(), await both.host.stateBytes())).toBe(true);
        expect(both.device.cellMap()).toEqual(both.host.cellMap());
        await expectSameLogits(both, cache, spec.layers, cacheName(cache));
      });

      it("merges, and merges again what it merged", async () => {
        const both = await opened();
        for (const round of ["first", "second"]) {
          await applyBoth(both, (view) => pairs(view));
          await expectSameRows(both, false, `${cacheName(cache)}, ${round} round`);
        }
        await expectSameLogits(both, cache, spec.layers, cacheName(cache));
      });

      it("turns keys to squeezed positions", async () => {
        const both = await opened();
        await applyBoth(both, (view) =>
          shared(view, {
            group: Array.from(view.positions.keys(), (cell) => Math.floor(cell / 3)),
            squeeze: 3,
          }),
        );
        await expectSameRows(both, true, cacheName(cache));
        await expectSameLogits(both, cache, spec.layers, cacheName(cache));
      });
    });
  });

  it.each(caches)(
    "looks at cells as the native operations do ($cacheType, $flashAttention)",
    async (cache) => {
      const context = await openOn(name, LLAMA, cache);
      const beside = await openOn("CPU", LLAMA, { ...cache, executor: "auto" });
      const [device, host] = [context.sequence(), beside.sequence()];
      await device.prefill(someTokens(COUNT, LLAMA.vocabulary), { signals: ["queries"] });
      await applied(device, (view) => randomComposite(view, 60, 3));
      await host.restore(await device.snapshot());
      const [own, other] = [await device.lease(), await host.lease()];
      for (const layer of own.shape.layers.keys()) {
        for (const frame of ["stored", "unrotated"] as const) {
          expect(sameBytes(await own.keys(layer, frame), await other.keys(layer, frame))).toBe(true);
        }
        expect(sameBytes(await own.values(layer), await other.values(layer))).toBe(true);
        expect(await device.ops.keyStats(own, layer)).toEqual(await host.ops.keyStats(other, layer));
        expect(await device.ops.attend(own, layer)).toEqual(await host.ops.attend(other, layer));
      }
      own.release();
      other.release();
    },
  );

  it.each(caches)("solves fits to the same bytes ($cacheType, $flashAttention)", async (cache) => {
    const context = await openOn(name, QWEN, cache);
    const beside = await openOn("CPU", QWEN, { ...cache, executor: "auto" });
    const [device, host] = [context.sequence(), beside.sequence()];
    await device.prefill(someTokens(COUNT, QWEN.vocabulary), { signals: ["queries"] });
    await host.restore(await device.snapshot());
    const [own, other] = [await device.lease(), await host.lease()];
    const sample = own.signals.queries as QuerySample;
    const plan = fitted(randomComposite(own, 24, 4), own.shape, sample, {});
    const [got, want] = [await device.apply(own, plan), await host.apply(other, plan)];
    own.release();
    other.release();
    expect(got.fits).toEqual(want.fits);
    expect(want.fits!.some(({ accepted }) => accepted)).toBe(true);
    expect(sameBytes(await device.stateBytes(), await host.stateBytes())).toBe(true);
  });

  it.each([false, true])("folds several sequences, each alone (unified: %s)", async (unified) => {
    const context = await openOn(name, LLAMA, { sequences: 3, unified, cacheType: "f16" });
    const sequences = [0, 1, 2].map((id) => context.sequence(id));
    const [first, second, third] = sequences as [LlamaSequence, LlamaSequence, LlamaSequence];
    for (let turn = 0; turn < 3; turn++) {
      for (const [id, sequence] of sequences.entries())
        await sequence.prefill(someTokens(20, LLAMA.vocabulary, 10 * turn + id));
    }
    const [before, last] = [await first.stateBytes(), await third.stateBytes()];
    await applied(second, (view) => pairs(view));
    await applied(second, (view) => randomComposite(view, 12, 5));
    expect(sameBytes(await first.stateBytes(), before)).toBe(true);
    expect(sameBytes(await third.stateBytes(), last)).toBe(true);
    expect(second.cells).toBe(12);
    expect((await second.decode(7)).every(Number.isFinite)).toBe(true);
  });
});
