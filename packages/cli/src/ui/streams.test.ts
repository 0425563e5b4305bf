/** What terminals, pipes and the environment say about width, colour and movement. */
import { describe, expect, test } from "vitest";
import { processStreams } from "./streams.js";

type Output = Parameters<typeof processStreams>[1];
const output = (isTTY: boolean, columns?: number): NonNullable<Output> =>
  ({ isTTY, columns, write: () => true }) as unknown as NonNullable<Output>;
const terminal = output(true, 120);
const pipe = output(false);

describe("width", () => {
  test.each([
    ["the terminal", {}, terminal, 120],
    ["COLUMNS", { COLUMNS: "60" }, terminal, 60],
    ["a pipe", {}, pipe, 100],
    ["a terminal without a size", {}, output(true, 0), 100],
    ["nonsense in COLUMNS", { COLUMNS: "wide" }, terminal, 120],
    ["a very narrow terminal", { COLUMNS: "10" }, terminal, 40],
  ])("of %s", (_, environment, stdout, width) => {
    expect(processStreams(environment, stdout, terminal).width).toBe(width);
  });
});

describe("colour", () => {
  test.each([
    [{}, terminal, true],
    [{ NO_COLOR: "1" }, terminal, false],
    [{ NO_COLOR: "" }, terminal, true],
    [{}, pipe, false],
  ])("%j", (environment, stdout, colour) => {
    expect(processStreams(environment, stdout, terminal).colour).toBe(colour);
  });
});

describe("movement", () => {
  test.each([
    ["a terminal", {}, terminal, true],
    ["a pipe", {}, pipe, false],
    ["a dumb terminal", { TERM: "dumb" }, terminal, false],
    ["continuous integration", { CI: "true" }, terminal, false],
    // a spinner would erase infinitely many lines
    ["a terminal without a size", {}, output(true, 0), false],
  ])("on %s", (_, environment, stderr, live) => {
    expect(processStreams(environment, terminal, stderr).live).toBe(live);
  });
});
