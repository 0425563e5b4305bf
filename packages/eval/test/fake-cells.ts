/** Finished cells with chosen scores. */
import { caseHash, cellId, type KlCell, type PasskeyCell } from "../src/index.js";

const facts = { cellsBefore: 8, cellsAfter: 4, bytesFreed: 64, planMs: 1, foldMs: 1, fits: null, note: null };

export interface FakeCell {
  readonly strategy: string;
  readonly index: number;
  readonly ratio?: number;
  readonly tokens?: number;
}

function named(task: "kl" | "passkey", { strategy, index, ratio = 4, tokens = 100 }: FakeCell) {
  const conditions = { seed: 1, cacheType: "f16" };
  const hash = caseHash(Int32Array.of(tokens, index));
  const id = cellId({ task, conditions, case: hash, strategy, ratio });
  return { model: "fake", strategy, ratio, tokens, conditions, index, case: hash, id };
}

export const klCell = (cell: FakeCell & { readonly kl: readonly number[] }): KlCell => ({
  command: "eval-cell",
  task: "kl",
  ...named("kl", cell),
  labels: { text: "a.txt", window: cell.kl.length },
  result: {
    ...facts,
    meanKl: cell.kl.reduce((sum, one) => sum + one, 0) / cell.kl.length,
    top1: 0.5,
    fullNll: 2,
    foldedNll: 2.5,
    kl: cell.kl,
  },
});

export const passkeyCell = (cell: FakeCell & { readonly folded: boolean }): PasskeyCell => ({
  command: "eval-cell",
  task: "passkey",
  ...named("passkey", cell),
  labels: { key: "digits", haystack: "junk" },
  result: { ...facts, depth: 5, key: "123", full: true, folded: cell.folded, answer: " 123." },
});
