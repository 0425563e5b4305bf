/** A fold is right, not only lucky: logits on the folded live cache against attention in double over the same rows. */
import { keepPlan } from "@kvfold/core";
import { boundFor, expectWithin, shared } from "@kvfold/testkit";
import { describe, expect, it } from "vitest";
import type { LlamaSequence } from "../src/index.js";
import type { TinyModelSpec } from "../src/tiny-model/tiny-model.js";
import {
  applied,
  CACHES,
  cacheName,
  everyNth,
  open,
  pairs,
  randomComposite,
  SPECS,
  sameBytes,
  someTokens,
} from "./fixtures.js";
import { referenceModel } from "./reference/forward.js";
import { readCache } from "./reference/read-rows.js";

const COUNT = 120;
const NEXT = 8;

/** The next tokens one by one: first the engine, then the reference over the rows that lie in the cache. */
async function checkNext(
  spec: TinyModelSpec,
  sequence: LlamaSequence,
  cache: (typeof CACHES)[number],
  label: string,
) {
  const reference = referenceModel(spec);
  const tokens = someTokens(NEXT, spec.vocabulary, 99);
  for (const [i, token] of tokens.entries()) {
    const position = sequence.nextPosition;
    const logits = await sequence.decode(token);
    const rows = await readCache(sequence);
    const maxBias = Math.max(0, ...Array.from(rows.bias ?? [0], Math.abs));
    const bound = boundFor("logits", cache.cacheType!, {
      flashAttention: cache.flashAttention === "on",
      layers: spec.layers,
      cells: rows.positions.length,
      maxBias,
    });
    expectWithin(logits, reference.attendOver(token, position, rows), bound, `${label}, token ${i}`);
  }
}

describe.each(SPECS)("$architecture", (spec) => {
  describe.each(CACHES)("$cacheType, flash attention $flashAttention", (cache) => {
    const opened = async (): Promise<LlamaSequence> => {
      const { sequence } = await open(spec, cache);
      await sequence.prefill(someTokens(COUNT, spec.vocabulary));
      return sequence;
    };

    it("changes no bit when nothing is folded", async () => {
      const sequence = await opened();
      const snapshot = await sequence.snapshot();
      const before = await sequence.stateBytes();
      const plain = await sequence.decode(3);
      await sequence.restore(snapshot);
      await applied(sequence, (view) => keepPlan(view, Array.from(view.positions.keys())));
      expect(sameBytes(await sequence.stateBytes(), before)).toBe(true);
      expect(sameBytes(await sequence.decode(3), plain)).toBe(true);
    });

    it("goes on rightly after a composite fold, and after a second one", async () => {
      const sequence = await opened();
      await applied(sequence, (view) => randomComposite(view, 40, 1));
      expect(sequence.cells).toBe(40);
      expect(sequence.nextPosition).toBe(COUNT);
      await checkNext(spec, sequence, cache, `${cacheName(cache)}, composite`);
      await applied(sequence, (view) => randomComposite(view, 24, 2));
      expect(sequence.cells).toBe(24);
      await checkNext(spec, sequence, cache, `${cacheName(cache)}, composite again`);
    });

    it("goes on rightly after a merge with bias, and after a second one", async () => {
      const sequence = await opened();
      const first = await applied(sequence, (view) => pairs(view));
      expect(first.bias!.some((bias) => bias > 0)).toBe(true);
      await checkNext(spec, sequence, cache, `${cacheName(cache)}, pairs`);
      const second = await applied(sequence, (view) => pairs(view));
      expect(Math.max(...second.counts)).toBe(4);
      expect(second.rows).toBeLessThan(first.rows);
      await checkNext(spec, sequence, cache, `${cacheName(cache)}, pairs again`);
    });

    it("goes on rightly when keys are rotated to squeezed positions", async () => {
      const sequence = await opened();
      await applied(sequence, (view) =>
        shared(view, {
          group: Array.from(view.positions.keys(), (cell) => Math.floor(cell / 3)),
          squeeze: 3,
        }),
      );
      expect(sequence.nextPosition).toBe(COUNT / 3);
      await checkNext(spec, sequence, cache, `${cacheName(cache)}, squeezed`);
    });
  });

  it("differs from the reference when the reference looks at other rows", async () => {
    const { sequence } = await open(spec);
    await sequence.prefill(someTokens(COUNT, spec.vocabulary));
    const rows = await readCache(sequence);
    await applied(sequence, (view) => keepPlan(view, everyNth(COUNT, 4)));
    const logits = await sequence.decode(3);
    const bound = boundFor("logits", "f16", { flashAttention: true, layers: spec.layers, cells: COUNT });
    const full = referenceModel(spec).attendOver(3, COUNT, rows);
    expect(() => expectWithin(logits, full, bound, "full rows")).toThrow("out of bounds");
  });
});
