/** The figures that the project promises, on the embedded model: 4096 tokens, 8 keys at depths from 5 to 95 per cent. */
import { resolveStrategy } from "@kvfold/core";
import { type LlamaContext, type LlamaModel, loadModel, prefillAndFold } from "@kvfold/llama";
import { heldoutTextPath, nanoModelPath } from "@kvfold/model-nano";
import { createDefaultRegistry, defaultStrategy } from "@kvfold/strategies";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  type Haystack,
  junkHaystack,
  type KeyKind,
  makePasskeyCases,
  type PasskeyRow,
  passkeyRows,
  proseHaystack,
  runPasskey,
  spreadDepths,
} from "../src/index.js";

const TOKENS = 4096;
const TRIALS = 8;
const SEED = 1;

let model: LlamaModel;
let context: LlamaContext;
beforeAll(async () => {
  model = await loadModel({ modelPath: nanoModelPath });
  context = await model.createContext({ contextSize: 4352, threads: 1 });
});
afterAll(async () => {
  await context?.dispose();
  await model?.dispose();
});

interface Question {
  readonly key: KeyKind;
  readonly haystack: Haystack;
  readonly strategies: readonly string[];
  readonly ratios: readonly number[];
  readonly foldEvery?: number;
}

async function measure({ key, haystack, strategies, ratios, foldEvery }: Question): Promise<PasskeyRow[]> {
  const sequence = context.sequence();
  const registry = createDefaultRegistry();
  const plugins = await Promise.all(
    strategies.map((text) =>
      text === "default" ? defaultStrategy() : resolveStrategy(text, registry, { cwd: process.cwd() }),
    ),
  );
  const runs = plugins.flatMap((strategy) => ratios.map((ratio) => ({ strategy, ratio })));
  const trials = await runPasskey(
    { sequence, readAndFold: (tokens, options) => prefillAndFold(sequence, tokens, options) },
    {
      cases: makePasskeyCases(model, {
        tokens: TOKENS,
        key,
        haystack,
        depths: spreadDepths(TRIALS),
        trials: TRIALS,
        seed: SEED,
      }),
      runs,
      seed: SEED,
      ...(foldEvery === undefined ? {} : { foldEvery }),
    },
  );
  const rows = passkeyRows(runs, trials);
  const reading = foldEvery === undefined ? "one-shot" : `every ${foldEvery}`;
  for (const row of rows) {
    console.log(
      `${haystack.kind} ${key} ${reading}: ${row.strategy} ${row.ratio}x full ${row.full} folded ${row.folded} of ${TRIALS}`,
    );
  }
  return rows;
}

describe("junk, digits", () => {
  test("the default keeps every key that the full cache knows, at 4x and 8x", async () => {
    const rows = await measure({
      key: "digits",
      haystack: junkHaystack,
      strategies: ["default"],
      ratios: [4, 8],
    });
    for (const row of rows) {
      expect(row.full).toBe(TRIALS);
      expect(row.lost).toEqual([]);
      expect(row.cellsAfter).toBeLessThanOrEqual(Math.ceil(row.cellsBefore / row.ratio));
      expect(row.bytesFreed).toBeGreaterThan(0);
      expect(row.decodeAfter).toBeGreaterThan(row.decodeBefore);
    }
  });

  test("with surprise beside key difference nothing is lost either", async () => {
    const rows = await measure({
      key: "digits",
      haystack: junkHaystack,
      strategies: ["evict(by=max(keydiff,surprise),per=head)"],
      ratios: [4, 8],
    });
    for (const row of rows) expect(row.lost).toEqual([]);
  });

  test.each([undefined, 512])("merging by position loses them, folding every %s", async (foldEvery) => {
    const rows = await measure({
      key: "digits",
      haystack: junkHaystack,
      strategies: ["sum", "mean"],
      ratios: [4],
      ...(foldEvery === undefined ? {} : { foldEvery }),
    });
    for (const row of rows) {
      expect(row.full).toBe(TRIALS);
      expect(row.folded).toBeLessThanOrEqual(1);
    }
  });
});

describe("prose", () => {
  test("digits: the default keeps at least 7 of 8 at 4x", async () => {
    const [row] = await measure({
      key: "digits",
      haystack: await proseHaystack(heldoutTextPath),
      strategies: ["default"],
      ratios: [4],
    });
    expect(row!.full).toBe(TRIALS);
    expect(row!.folded).toBeGreaterThanOrEqual(7);
  });
});

describe("three words", () => {
  // no promise is made on the folded cache: the figures are printed
  test.each(["junk", "prose"])("%s: the full cache answers", async (name) => {
    const rows = await measure({
      key: "words",
      haystack: name === "junk" ? junkHaystack : await proseHaystack(heldoutTextPath),
      strategies: ["default"],
      ratios: [4, 8],
    });
    for (const row of rows) expect(row.full).toBeGreaterThanOrEqual(TRIALS - 1);
  });
});
