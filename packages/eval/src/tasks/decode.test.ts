/** The rounds on an engine in memory, and the medians over them. */
import { describe, expect, test } from "vitest";
import { fakeEngine, MS_OF_A_SIGNAL, wordTokenizer } from "../../test/fake-engine.js";
import { keepWhere } from "../../test/strategies.js";
import { type DecodeEvent, type DecodeRound, runDecode, summariseDecode } from "./decode.js";

const { text } = wordTokenizer();
const prompt = Int32Array.from({ length: 40 }, (_, i) => i);
const next = Int32Array.of(1, 2, 3);
const quarter = keepWhere("quarter", (_, cell) => cell % 4 === 3);
const surprised = keepWhere("surprised", (_, cell) => cell % 4 === 3, ["tokens", "tokenLogProbs"]);
const options = { prompt, next, ratio: 4, runs: 2 };

describe("runDecode", () => {
  test("reads, folds, and reads as many tokens as cells stayed, then all decode in turns", async () => {
    const engine = fakeEngine(text);
    const events: DecodeEvent[] = [];
    const onEvent = (event: DecodeEvent): unknown => events.push(event);
    const rounds = await runDecode(engine, { ...options, strategy: quarter, onEvent });
    expect(rounds).toHaveLength(2);
    for (const round of rounds) {
      expect(round.cells).toEqual({ full: 40, folded: 10, native: 10 });
      expect(round).toMatchObject({ prefillMs: 1, captureMs: 0 });
      for (const speed of Object.values(round.speed)) expect(speed).toBeGreaterThan(0);
    }
    // the round that warms up as well
    const round = ["clear", "read", "fold", "clear", "read", ...Array<string>(9).fill("restore")];
    expect(engine.calls).toEqual([...round, ...round, ...round]);
    expect(engine.asked.every((signals) => signals.length === 0)).toBe(true);
    const steps = ["read", "fold", "native", "decode"];
    expect(events.map(({ round: index, step }) => `${index} ${step}`)).toEqual(
      [0, 1, 2].flatMap((index) => steps.map((step) => `${index} ${step}`)),
    );
  });

  test("tells apart what signals cost", async () => {
    const engine = fakeEngine(text);
    const [round] = await runDecode(engine, { ...options, strategy: surprised, runs: 1 });
    expect(round).toMatchObject({ prefillMs: 1, captureMs: 2 * MS_OF_A_SIGNAL });
    expect(engine.asked.slice(0, 3)).toEqual([[], ["tokens", "tokenLogProbs"], []]);
  });

  test("stops when it is told to", async () => {
    const controller = new AbortController();
    const onEvent = ({ round, step }: DecodeEvent): void => {
      if (round === 1 && step === "decode") controller.abort();
    };
    const { signal } = controller;
    const work = runDecode(fakeEngine(text), { ...options, strategy: quarter, signal, onEvent });
    await expect(work).rejects.toMatchObject({ code: "KVFOLD_ABORTED" });
  });
});

test("summariseDecode takes medians, and ratios within the rounds", () => {
  const round = (speed: DecodeRound["speed"], times: number): DecodeRound => ({
    ...{ prefillMs: 100 * times, captureMs: times, planMs: 2 * times, foldMs: 3 * times },
    ...{ cells: { full: 8, folded: 2, native: 2 }, speed },
  });
  const summary = summariseDecode([
    round({ full: 1, folded: 9, native: 10 }, 1),
    round({ full: 10, folded: 30, native: 20 }, 2),
    round({ full: 2, folded: 4, native: 4 }, 9),
  ]);
  expect(summary).toMatchObject({ prefillMs: 200, captureMs: 2, planMs: 4, foldMs: 6 });
  expect(summary.rows).toEqual([
    { cache: "full", cells: 8, tokensPerSecond: 2, minimum: 1, maximum: 10 },
    { cache: "folded", cells: 2, tokensPerSecond: 9, minimum: 4, maximum: 30 },
    { cache: "native", cells: 2, tokensPerSecond: 10, minimum: 4, maximum: 20 },
  ]);
  expect(summary.foldedToNative).toBe(1);
  expect(summary.foldedToFull).toBe(3);
  expect(summary.planAndFoldShare).toBeCloseTo(0.05, 12);
});
