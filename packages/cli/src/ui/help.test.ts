/** Help keeps to the width of a terminal, commands excepted. */
import { describe, expect, test } from "vitest";
import { fitHelp } from "./help.js";

const HELP = `Usage: kvfold bake [options]

Options:
  --to <file>  where to

Bread is baked at a heat that the oven
must have reached before it goes in.

sour:  flour and water, risen by what was
       kept of the bread before this one
Examples:
  kvfold bake                 a loaf of rye
  kvfold bake --flour rye,wheat,spelt --to loaf`;

describe("fitHelp", () => {
  test("leaves alone what fits", () => {
    expect(fitHelp(HELP, 80)).toBe(HELP);
  });

  test("breaks paragraphs anew, keeps the indent of lists, and leaves commands whole", () => {
    expect(fitHelp(HELP, 32).split("\n")).toEqual([
      "Usage: kvfold bake [options]",
      "",
      "Options:",
      "  --to <file>  where to",
      "",
      "Bread is baked at a heat that",
      "the oven must have reached",
      "before it goes in.",
      "",
      "sour:  flour and water, risen by",
      "       what was",
      "       kept of the bread before",
      "       this one",
      "Examples:",
      "  kvfold bake",
      "      a loaf of rye",
      "  kvfold bake --flour rye,wheat,spelt --to loaf",
    ]);
  });

  test("ends on a terminal without columns", () => {
    expect(fitHelp(HELP, 0).replaceAll(/\s+/g, "")).toBe(HELP.replaceAll(/\s+/g, ""));
  });
});
