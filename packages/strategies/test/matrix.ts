/** Strategies by their expressions, under the conformance suite: the files of the matrix share it, one for a family. */
import { resolveStrategy } from "@kvfold/core";
import { type TestStrategyOptions, testStrategy } from "@kvfold/testkit";
import { createDefaultRegistry } from "../src/index.js";

/** An expression, and what is special about its strategy. */
export type Entry = readonly [expression: string, options?: TestStrategyOptions];

export const LISTED: TestStrategyOptions = { mayMissTarget: "a list has only so many pairs" };

/** Registers the suite for every entry. */
export async function testMatrix(entries: readonly Entry[]): Promise<void> {
  const registry = createDefaultRegistry();
  for (const [expression, options = {}] of entries) {
    const strategy = await resolveStrategy(expression, registry);
    testStrategy(expression, () => strategy, options);
  }
}
