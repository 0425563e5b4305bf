/**
 * An engine on a cache in memory. Its "model" answers with any number that still has a cell of its own, and expects each
 * token the more the more cells hold it.
 */
import { createMemoryCache, type LayerShape, type MemoryCache, throwIfAborted } from "@kvfold/core";
import type { EvalEngine, EvalSequence } from "../src/engine.js";
import type { Tokenizer } from "../src/tasks/passkey-cases.js";

const layer: LayerShape = {
  layer: 0,
  kvHeads: 1,
  queryHeads: 1,
  keyDim: 2,
  valueDim: 2,
  keyType: "f32",
  valueType: "f32",
  valueLayout: "rows",
  rope: null,
  hadamard: { key: 0, value: 0 },
  window: null,
};

/** Words become numbers in the order of their first appearance. */
export function wordTokenizer(): Tokenizer & { text(token: number): string } {
  const words = ["<start>"];
  return {
    tokenize: async (text, options) => {
      const ids = (text.match(/\s*[^\s.]+|\./gu) ?? []).map((word) => {
        if (!words.includes(word)) words.push(word);
        return words.indexOf(word);
      });
      return new Int32Array(options?.bos === true ? [0, ...ids] : ids);
    },
    text: (token) => words[token] ?? "",
  };
}

/** Token ids from 0 that the fake model may expect. */
export const FAKE_VOCABULARY = 64;

/** What capturing one costs. */
export const MS_OF_A_SIGNAL = 4;

export interface FakeEngine extends EvalEngine<number[]> {
  readonly calls: string[];
  /** Signals of each call that asked for some, or for none. */
  readonly asked: (readonly string[])[];
}

export function fakeEngine(text: (token: number) => string): FakeEngine {
  const calls: string[] = [];
  const asked: (readonly string[])[] = [];
  let tokens: number[] = [];
  let captured: readonly string[] = [];
  let cache: MemoryCache | undefined;
  const fresh = (): MemoryCache => {
    const floats = new Float32Array(tokens.length * 2);
    return createMemoryCache({
      layers: [layer],
      capacity: tokens.length,
      keys: [floats],
      values: [floats],
      positions: Int32Array.from(tokens, (_, cell) => cell),
      tokens: Int32Array.from(tokens),
      tokenLogProbs: captured.includes("tokenLogProbs") ? new Float32Array(tokens.length).fill(-1) : null,
      repeat: captured.includes("repeat") ? { layers: [new Float32Array(tokens.length)] } : null,
    });
  };
  const sequence: EvalSequence<number[]> = {
    name: "fake",
    get ops() {
      return fresh().ops;
    },
    get shape() {
      return { layers: [layer], cells: tokens.length };
    },
    get tokensSeen() {
      return tokens.length;
    },
    get cells() {
      return tokens.length;
    },
    lease: () => {
      cache = fresh();
      return cache.lease();
    },
    apply: async (lease, plan, options) => {
      const report = await cache!.apply(lease, plan, options);
      calls.push("fold");
      lease.release();
      const after = await cache!.lease();
      tokens = [...after.tokens!];
      after.release();
      return report;
    },
    prefill: async (more, options) => {
      throwIfAborted(options?.signal, "fake");
      calls.push(tokens.length === 0 ? "read" : "ask");
      tokens.push(...more);
      options?.onProgress?.(more.length, more.length);
      if (options?.signals !== undefined) {
        asked.push(options.signals);
        captured = options.signals;
      }
      return { milliseconds: 1 + MS_OF_A_SIGNAL * (options?.signals?.length ?? 0) };
    },
    decode: (token) => {
      tokens.push(token);
      return new Float32Array(1);
    },
    evaluate: (more) => {
      calls.push(`evaluate ${more.length}`);
      return Array.from(more, (token) => {
        tokens.push(token);
        const logits = new Float32Array(FAKE_VOCABULARY);
        for (const each of tokens) logits[each % FAKE_VOCABULARY]! += 1;
        return logits;
      });
    },
    generate: async () => {
      calls.push("answer");
      const number = tokens.map(text).find((word) => /^\s*\d+$/.test(word));
      return { text: number === undefined ? " nothing." : `${number}.` };
    },
    snapshot: () => [...tokens],
    restore: (snapshot) => {
      calls.push("restore");
      tokens = [...snapshot];
    },
    clear: () => {
      calls.push("clear");
      tokens = [];
    },
  };
  return { sequence, calls, asked };
}
