/** The task, step by step, on an engine in memory. */
import { defineStrategy, type FoldReport, identityPlan } from "@kvfold/core";
import { describe, expect, test } from "vitest";
import { fakeEngine, MS_OF_A_SIGNAL, wordTokenizer } from "../../test/fake-engine.js";
import { keepWhere } from "../../test/strategies.js";
import type { EvalEngine } from "../engine.js";
import { junkHaystack } from "../haystack.js";
import { DECODE_TOKENS } from "../measure.js";
import { passkeyRows } from "../table.js";
import { type PasskeyEvent, runPasskey } from "./passkey.js";
import { makePasskeyCases, spreadDepths } from "./passkey-cases.js";

const tokenizer = wordTokenizer();
const cases = await makePasskeyCases(tokenizer, {
  tokens: 256,
  key: "digits",
  haystack: junkHaystack,
  depths: spreadDepths(3),
  trials: 3,
  seed: 1,
});
const isNumber = (token: number): boolean => /^\s*\d+$/.test(tokenizer.text(token));

const forgetful = keepWhere("forgetful", (token) => !isNumber(token));
const careful = keepWhere("careful", isNumber);
const runs = [
  { strategy: forgetful, ratio: 1 },
  { strategy: careful, ratio: 4 },
];

describe("runPasskey", () => {
  test("counts what the full cache and each fold know", async () => {
    const rows = passkeyRows(runs, await runPasskey(fakeEngine(tokenizer.text), { cases, runs }));
    expect(rows).toMatchObject([
      { strategy: "forgetful", ratio: 1, full: 3, folded: 0 },
      { strategy: "careful", ratio: 4, full: 3, folded: 3, lost: [] },
    ]);
    expect(rows[0]!.lost.map(({ key, answer }) => [key, answer])).toEqual(
      cases.map((one) => [one.key, " nothing."]),
    );
    // the number stands twice in the needle, and the last cell stays
    expect(rows[1]).toMatchObject({ cellsBefore: cases[0]!.prompt.length, cellsAfter: 3 });
    // 2 + 2 channels in f32
    expect(rows[1]!.bytesFreed).toBe((cases[0]!.prompt.length - 3) * 16);
  });

  test("reads a prompt once, folds before it asks, and puts the cache back in between", async () => {
    const engine = fakeEngine(tokenizer.text);
    await runPasskey(engine, { cases: cases.slice(0, 1), runs });
    const question = ["ask", "answer"];
    const folded = ["restore", "fold", ...question];
    expect(engine.calls).toEqual(["clear", "read", ...question, ...folded, ...folded]);
  });

  test("reports every step", async () => {
    const events: PasskeyEvent[] = [];
    await runPasskey(fakeEngine(tokenizer.text), {
      cases: cases.slice(0, 1),
      runs,
      onEvent: (event) => events.push(event),
    });
    expect(events.map((event) => event.type)).toEqual([
      "case",
      "read",
      "answer",
      "fold",
      "answer",
      "fold",
      "answer",
    ]);
    expect(events.filter((event) => event.type === "answer").map((event) => event.run)).toEqual([null, 0, 1]);
  });

  test("with foldEvery each run reads the prompt itself", async () => {
    const { sequence, calls } = fakeEngine(tokenizer.text);
    const asked: unknown[] = [];
    const readAndFold: EvalEngine["readAndFold"] = async (tokens, options) => {
      asked.push([tokens.length, options.every, options.strategy.name, options.ratio, sequence.cells]);
      await sequence.prefill(tokens);
      const report = { plan: {}, bytesFreed: 8, timings: { view: 1, plan: 2, check: 3, apply: 4 } };
      for (let i = 0; i < 2; i++) options.onFold?.(report as unknown as FoldReport);
    };
    const [trial] = await runPasskey(
      { sequence, readAndFold },
      { cases: cases.slice(0, 1), runs, foldEvery: 64 },
    );
    const { length } = cases[0]!.prompt;
    expect(asked).toEqual([
      [length, 64, "forgetful", 1, 0],
      [length, 64, "careful", 4, 0],
    ]);
    expect(calls).not.toContain("restore");
    expect(trial!.folded[0]).toMatchObject({ bytesFreed: 16, planMs: 6, foldMs: 14 });
  });

  test("foldEvery needs an engine that can", async () => {
    await expect(
      runPasskey(fakeEngine(tokenizer.text), { cases, runs, foldEvery: 64 }),
    ).rejects.toMatchObject({
      code: "KVFOLD_UNSUPPORTED",
    });
  });

  test.each(["case", "fold", "answer"])("an abort at %s ends it", async (type) => {
    const controller = new AbortController();
    const engine = fakeEngine(tokenizer.text);
    const running = runPasskey(engine, {
      cases,
      runs,
      signal: controller.signal,
      onEvent: (event) => {
        if (event.type === type) controller.abort();
      },
    });
    await expect(running).rejects.toMatchObject({ code: "KVFOLD_ABORTED" });
    expect(engine.calls.filter((call) => call === "clear")).toHaveLength(1);
  });

  test("an error of a strategy is passed on", async () => {
    const broken = defineStrategy({
      name: "broken",
      summary: "for this test",
      create: () => ({ plan: (view) => ({ ...identityPlan(view), rows: 7 }) }),
    })();
    await expect(
      runPasskey(fakeEngine(tokenizer.text), { cases, runs: [{ strategy: broken, ratio: 2 }] }),
    ).rejects.toMatchObject({ message: expect.stringContaining("broken") });
  });

  test("speeds are taken after the answer, over the promised steps", async () => {
    const engine = fakeEngine(tokenizer.text);
    const lengths: number[] = [];
    await runPasskey(engine, {
      cases: cases.slice(0, 1),
      runs: [],
      onEvent: (event) => {
        if (event.type === "answer") lengths.push(engine.sequence.cells);
      },
    });
    const [one] = cases;
    expect(lengths).toEqual([one!.prompt.length + one!.question.length + DECODE_TOKENS]);
  });

  test("without speeds nothing is decoded but the answer", async () => {
    const engine = fakeEngine(tokenizer.text);
    const [trial] = await runPasskey(engine, { cases: cases.slice(0, 1), runs, speeds: false });
    expect(trial!.full.tokensPerSecond).toBeNaN();
    expect(engine.sequence.cells).toBe(trial!.folded[1]!.cellsAfter + cases[0]!.question.length);
  });

  test("captures what is asked for, and can read the last prompt once more without it", async () => {
    const engine = fakeEngine(tokenizer.text);
    const curious = keepWhere("curious", isNumber, ["repeat", "tokenLogProbs"]);
    const two = cases.slice(0, 2);
    const options = { cases: two, runs: [{ strategy: curious, ratio: 4 }], captureCost: true };
    const trials = await runPasskey(engine, options);
    const all = ["repeat", "tokenLogProbs"];
    expect(engine.asked).toEqual([all, all, []]);
    expect(trials.map((trial) => trial.captureMs)).toEqual([null, 2 * MS_OF_A_SIGNAL]);
  });

  test("nothing is read again for signals that cost nothing", async () => {
    const engine = fakeEngine(tokenizer.text);
    const [trial] = await runPasskey(engine, {
      cases: cases.slice(0, 1),
      runs,
      signals: ["tokens"],
      captureCost: true,
    });
    expect(engine.asked).toEqual([["tokens"]]);
    expect(trial!.captureMs).toBeNull();
  });
});
