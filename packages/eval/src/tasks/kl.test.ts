/** The divergence task, step by step, on an engine in memory whose expectations can be counted by hand. */
import { describe, expect, test } from "vitest";
import { FAKE_VOCABULARY, fakeEngine, wordTokenizer } from "../../test/fake-engine.js";
import { keepWhere } from "../../test/strategies.js";
import { compareExpected, expected } from "./divergence.js";
import { type KlEvent, runKl } from "./kl.js";
import { makeKlWindows } from "./kl-windows.js";

const tokenizer = wordTokenizer();
const words = (count: number): string => Array.from({ length: count }, (_, i) => ` w${i % 40}`).join("");
const [window] = await makeKlWindows(tokenizer, {
  text: words(200),
  name: "words",
  tokens: 100,
  windows: 1,
  window: 70,
});
const all = keepWhere("all", () => true);
const half = keepWhere("half", (_, cell) => cell % 2 === 0);
const curious = keepWhere("curious", () => true, ["tokenLogProbs"]);
const run = (engine = fakeEngine(tokenizer.text), runs = [all, half]) =>
  runKl(engine, { window: window!, runs: runs.map((strategy) => ({ strategy, ratio: 2 })) });

/** What the fake model expects after these tokens. */
function counted(tokens: readonly number[]): Float32Array {
  const logits = new Float32Array(FAKE_VOCABULARY);
  for (const token of tokens) logits[token % FAKE_VOCABULARY]! += 1;
  return logits;
}

describe("runKl", () => {
  test("a fold that keeps everything changes nothing", async () => {
    const [kept] = await run();
    expect(kept).toMatchObject({ meanKl: 0, top1: 1, cellsBefore: 100, cellsAfter: 100, bytesFreed: 0 });
    expect(kept!.kl).toEqual(new Array(70).fill(0));
    expect(kept!.foldedNll).toBe(kept!.fullNll);
  });

  test("compares what is expected after each token, from the folded cells on", async () => {
    const [, folded] = await run();
    const kept = [...window!.context].filter((_, cell) => cell % 2 === 0 || cell === 99);
    const direct = [...window!.next.subarray(0, -1)].map((_, place) => {
      const read = [...window!.next.subarray(0, place + 1)];
      const full = expected(counted([...window!.context, ...read]));
      return compareExpected(full, expected(counted([...kept, ...read])), window!.next[place + 1]!);
    });
    expect(folded!.kl).toEqual(direct.map((one) => one.kl));
    expect(folded!.meanKl).toBe(direct.reduce((sum, one) => sum + one.kl, 0) / 70);
    expect(folded!.meanKl).toBeGreaterThan(0.01);
    expect(folded!.top1).toBe(direct.filter((one) => one.sameTop).length / 70);
    expect(folded!.foldedNll).toBe(direct.reduce((sum, one) => sum + one.foldedNll, 0) / 70);
    expect(folded).toMatchObject({ cellsBefore: 100, cellsAfter: kept.length });
  });

  test("reads the context once, in the same batches for all, and puts it back in between", async () => {
    const engine = fakeEngine(tokenizer.text);
    await run(engine, [half, half]);
    const next = ["evaluate 32", "evaluate 32", "evaluate 6"];
    const folded = ["restore", "fold", ...next];
    expect(engine.calls).toEqual(["clear", "read", ...next, ...folded, ...folded]);
  });

  test("captures what the strategies ask for, once", async () => {
    const engine = fakeEngine(tokenizer.text);
    await run(engine, [curious, all, curious]);
    expect(engine.asked).toEqual([["tokenLogProbs"]]);
  });

  test("hands on every score as soon as it is there", async () => {
    const events: KlEvent[] = [];
    const runs = [all, half].map((strategy) => ({ strategy, ratio: 2 }));
    const onEvent = (event: KlEvent): void => void events.push(event);
    const scores = await runKl(fakeEngine(tokenizer.text), { window: window!, runs, onEvent });
    expect(events.map((event) => event.type)).toEqual(["read", "full", "fold", "score", "fold", "score"]);
    expect(events.flatMap((event) => (event.type === "score" ? [event.score] : []))).toEqual(scores);
  });

  test.each(["read", "full", "fold"])("an abort at %s ends it", async (type) => {
    const controller = new AbortController();
    const running = runKl(fakeEngine(tokenizer.text), {
      window: window!,
      runs: [{ strategy: half, ratio: 2 }],
      signal: controller.signal,
      onEvent: (event) => {
        if (event.type === type) controller.abort();
      },
    });
    await expect(running).rejects.toMatchObject({ code: "KVFOLD_ABORTED" });
  });
});
