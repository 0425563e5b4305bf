/** Saves the plan of the first trial with what is needed to understand it later. */
import { savePlan } from "@kvfold/core";
import type { PasskeyResult } from "./measure.js";
import type { PasskeySettings } from "./settings.js";

/** The file appears whole or not at all. */
export async function savePasskeyPlan(
  path: string,
  settings: PasskeySettings,
  result: PasskeyResult,
): Promise<void> {
  const [run] = settings.runs;
  const metadata = {
    model: settings.model.name,
    strategy: run!.strategy.expression,
    ratio: String(run!.ratio),
    seed: String(settings.seed),
    task: `passkey, ${settings.key} in ${settings.haystack.name}, ${settings.tokens} tokens`,
  };
  await savePlan(path, result.plan, metadata, result.pieces);
}
