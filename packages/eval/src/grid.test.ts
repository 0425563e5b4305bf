/** Grids: one prefill a case, every cell once, and the same results however often they are interrupted. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { type FakeEngine, fakeEngine, wordTokenizer } from "../test/fake-engine.js";
import { keepWhere } from "../test/strategies.js";
import type { CellGroup, EvalCell } from "./cells.js";
import { type GridEvent, type GridRun, runGrid } from "./grid.js";
import { junkHaystack } from "./haystack.js";
import { openResults, type Results } from "./results.js";
import { klPart, passkeyPart } from "./tasks/grid-parts.js";
import { makeKlWindows } from "./tasks/kl-windows.js";
import { makePasskeyCases, spreadDepths } from "./tasks/passkey-cases.js";

const folder = mkdtempSync(join(tmpdir(), "kvfold-grid-"));
afterAll(() => rmSync(folder, { recursive: true }));

const tokenizer = wordTokenizer();
const text = Array.from({ length: 300 }, (_, i) => ` w${(i * i) % 50}`).join("");
const half = keepWhere("half", (_, cell) => cell % 2 === 0);
const third = keepWhere("third", (_, cell) => cell % 3 === 0, ["tokenLogProbs"]);
const runs: GridRun[] = [half, third].flatMap((strategy) => [2, 4].map((ratio) => ({ strategy, ratio })));
const group = (task: CellGroup["task"], tokens: number): CellGroup => ({
  task,
  model: "fake",
  tokens,
  labels: {},
  conditions: { seed: 1 },
});

async function partsOf(engine: FakeEngine, signal = new AbortController().signal) {
  const windows = await makeKlWindows(tokenizer, { text, name: "t", tokens: 60, windows: 3, window: 20 });
  const passkey = { tokens: 256, key: "digits", haystack: junkHaystack, seed: 1 } as const;
  const cases = await makePasskeyCases(tokenizer, { ...passkey, depths: spreadDepths(2), trials: 2 });
  return [
    klPart(engine, { group: group("kl", 60), windows, seed: 1, signal }),
    passkeyPart(engine, { group: group("passkey", 256), cases, seed: 1, signal }),
  ];
}

async function run(results: Results, stopAfter = Number.POSITIVE_INFINITY, chosen = runs) {
  const engine = fakeEngine(tokenizer.text);
  const events: GridEvent[] = [];
  const controller = new AbortController();
  await runGrid({
    parts: await partsOf(engine, controller.signal),
    runs: chosen,
    results,
    signal: controller.signal,
    onEvent: (event) => {
      events.push(event);
      if (events.filter((each) => each.type === "cell").length >= stopAfter) controller.abort();
    },
  });
  return { engine, events };
}

/** Cells without what a clock said. */
const timeless = (cells: Iterable<EvalCell>): unknown =>
  [...cells].map(({ result, ...cell }) => ({ ...cell, result: { ...result, planMs: 0, foldMs: 0 } }));
const CELLS = 5 * 4;

describe("runGrid", () => {
  test("measures every run on every case, with one prefill a case", async () => {
    const results = openResults();
    const { engine, events } = await run(results);
    expect(results.cells.size).toBe(CELLS);
    expect(engine.calls.filter((call) => call === "read")).toHaveLength(5);
    expect(engine.calls.filter((call) => call === "fold")).toHaveLength(CELLS);
    expect(events.filter((event) => event.type === "cell").map((event) => event.done)).toEqual(
      Array.from({ length: CELLS }, (_, cell) => cell + 1),
    );
    const parts = events.filter((event) => event.type === "part");
    expect(parts.map(({ cells }) => cells.map((own) => own.length))).toEqual([
      [3, 3, 3, 3],
      [2, 2, 2, 2],
    ]);
    for (const { cells } of parts) {
      expect(cells.map(([cell]) => [cell!.strategy, cell!.ratio])).toEqual(
        runs.map(({ strategy, ratio }) => [strategy.expression, ratio]),
      );
    }
  });

  test("a finished grid reads nothing, and still gives its tables", async () => {
    const results = openResults();
    await run(results);
    const { engine, events } = await run(results);
    expect(engine.calls).toEqual([]);
    expect(events.map((event) => event.type)).toEqual(["part", "part"]);
  });

  test.each([1, 3, 4, 7, 17])("interrupted after %i cells, it goes on there", async (stop) => {
    const whole = openResults();
    await run(whole);
    const path = join(folder, `${stop}.jsonl`);
    const first = openResults(path);
    await expect(run(first, stop)).rejects.toMatchObject({ code: "KVFOLD_ABORTED" });
    first.close();
    const second = openResults(path);
    expect(second.cells.size).toBe(stop);
    const { engine } = await run(second);
    second.close();
    expect(engine.calls.filter((call) => call === "fold")).toHaveLength(CELLS - stop);
    expect(timeless(second.cells.values())).toEqual(timeless(whole.cells.values()));
    // what is captured does not depend on which runs are left
    for (const asked of engine.asked) expect(asked).toEqual(["tokenLogProbs"]);
  });

  test("one more strategy measures that one only", async () => {
    const results = openResults();
    await run(results, undefined, runs.slice(0, 2));
    const { engine } = await run(results);
    expect(engine.calls.filter((call) => call === "fold")).toHaveLength(CELLS / 2);
    expect(results.cells.size).toBe(CELLS);
  });

  test("a strategy that does something else under the same name is measured again", async () => {
    const results = openResults();
    await run(results, undefined, [{ strategy: half, ratio: 2, identity: "old" }]);
    await run(results, undefined, [{ strategy: half, ratio: 2, identity: "new" }]);
    expect(results.cells.size).toBe(10);
  });

  test("cells are the same by their id, whatever the model is called", async () => {
    const ids = await Promise.all(
      ["a", "b"].map(async (model) => {
        const [one] = await partsOf(fakeEngine(tokenizer.text));
        const results = openResults();
        await runGrid({
          parts: [{ ...one!, group: { ...one!.group, model } }],
          runs: runs.slice(0, 1),
          results,
        });
        return [...results.cells.keys()];
      }),
    );
    expect(ids[0]).toEqual(ids[1]);
    expect(new Set(ids[0]).size).toBe(3);
  });
});
