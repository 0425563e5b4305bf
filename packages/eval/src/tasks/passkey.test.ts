/** The task, step by step, on an engine in memory. */
import { defineStrategy, type FoldReport, identityPlan, keepPlan, type MergeStrategy } from "@kvfold/core";
import { describe, expect, test } from "vitest";
import { fakeEngine, wordTokenizer } from "../../test/fake-engine.js";
import type { EvalEngine } from "../engine.js";
import { junkHaystack } from "../haystack.js";
import { DECODE_TOKENS } from "../measure.js";
import { passkeyRows } from "../table.js";
import { type PasskeyEvent, runPasskey } from "./passkey.js";
import { makePasskeyCases, spreadDepths } from "./passkey-cases.js";

const tokenizer = wordTokenizer();
const cases = makePasskeyCases(tokenizer, {
  tokens: 256,
  key: "digits",
  haystack: junkHaystack,
  depths: spreadDepths(3),
  trials: 3,
  seed: 1,
});
const isNumber = (token: number): boolean => /^\s*\d+$/.test(tokenizer.text(token));

/** Keeps the cells whose token passes, and the last. */
const keepWhere = (name: string, keep: (token: number) => boolean): MergeStrategy =>
  defineStrategy({
    name,
    summary: "for this test",
    create: () => ({
      plan: (view) => {
        const cells = [...view.tokens!.keys()];
        return keepPlan(
          view,
          cells.filter((cell) => cell === cells.length - 1 || keep(view.tokens![cell]!)),
        );
      },
    }),
  })();
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
});
