/** Progress of a grid: where it is, and how much is left. */
import type { CellGroup, EvalCell } from "@kvfold/eval";
import { expect, test } from "vitest";
import { gridDisplay } from "./progress.js";

const group: CellGroup = {
  task: "kl",
  model: "fake",
  tokens: 4096,
  labels: { text: "book.txt", window: 256 },
  conditions: {},
};

test("says what is done, how much is left, and how long that takes", () => {
  const lines: string[] = [];
  let time = 0;
  const progress = {
    now: (text: string) => lines.push(text),
    done: (text: string) => lines.push(`! ${text}`),
    stop: () => {},
  };
  const display = gridDisplay(progress, "window", () => time);
  const runs = [2, 4].map((ratio) => ({ strategy: { expression: "mean" }, ratio }));
  display.grid({ type: "case", group, index: 2, done: 10, total: 20 });
  display.task({ type: "read", done: 512, total: 4096 }, runs);
  display.task({ type: "full", prefillMs: 1 }, runs);
  time = 30_000;
  display.grid({ type: "cell", cell: {} as EvalCell, done: 11, total: 20 });
  display.task({ type: "score", run: 0, score: {} as never }, runs);
  display.task({ type: "score", run: 1, score: {} as never }, runs);
  time = 60_000;
  display.grid({ type: "case-done", group, index: 2, done: 12, total: 20 });
  const where = "4,096 tokens, book.txt, window 3";
  expect(lines).toEqual([
    `${where}: reading 512 of 4096 tokens · 10 of 20 results`,
    `${where}: mean at 2x · 10 of 20 results`,
    `${where}: mean at 4x · 11 of 20 results · about 5 min left`,
    `! ${where}: done · 12 of 20 results · about 4 min left`,
  ]);
});
