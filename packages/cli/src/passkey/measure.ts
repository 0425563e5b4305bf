/** Opens the engine, runs the passkey task on it, and reports progress. */
import type { MergePlan } from "@kvfold/core";
import {
  DECODE_TOKENS,
  makePasskeyCases,
  median,
  type PasskeyCase,
  type PasskeyEvent,
  type PasskeyRow,
  type PasskeyRun,
  passkeyRows,
  runPasskey,
} from "@kvfold/eval";
import type { LlamaModel } from "@kvfold/llama";
import { type Room, refuseTokens, withEngine, withModel } from "../engine.js";
import { plural } from "../ui/numbers.js";
import type { Progress } from "../ui/progress.js";
import type { PasskeySettings } from "./settings.js";

export interface PasskeyResult {
  readonly rows: readonly PasskeyRow[];
  /** Milliseconds to read a prompt; the median. */
  readonly prefillMs: number;
  /** Of these, what capturing the strategies' signals takes; null when they ask for none. */
  readonly captureMs: number | null;
  /** The plan of the first fold, and the text of the cells that it was made for. */
  readonly plan: MergePlan;
  readonly pieces: readonly string[];
}

/** @throws KvfoldError as the engine, the strategies and the task do; KVFOLD_ABORTED when `signal` fires */
export async function measurePasskey(
  settings: PasskeySettings,
  progress: Progress,
  signal: AbortSignal,
): Promise<PasskeyResult> {
  return withModel({ settings, progress, signal }, (model) => {
    refuseTokens(model, settings.tokens, `--tokens ${settings.tokens}`);
    return measure(model, settings, progress, signal);
  });
}

// ---------------------------------------------------------------------------------------------------------------

async function measure(
  model: LlamaModel,
  settings: PasskeySettings,
  progress: Progress,
  signal: AbortSignal,
): Promise<PasskeyResult> {
  const cases = await makePasskeyCases(model, settings);
  return withEngine(model, settings, passkeyRoom(cases, settings.runs), async (engine) => {
    let plan: MergePlan | undefined;
    const show = progressOf(settings, progress);
    const trials = await runPasskey(engine, {
      cases,
      runs: settings.runs,
      seed: settings.seed,
      signal,
      captureCost: true,
      ...(settings.foldEvery === undefined ? {} : { foldEvery: settings.foldEvery }),
      onEvent: (event) => {
        if (event.type === "fold") plan ??= event.report.plan;
        show(event);
      },
    });
    return {
      rows: passkeyRows(settings.runs, trials),
      prefillMs: median(trials.map((trial) => trial.prefillMs)),
      captureMs: trials.at(-1)?.captureMs ?? null,
      plan: plan!,
      pieces: Array.from(cases[0]!.prompt, (token) => model.tokenText(token)),
    };
  });
}

/** Room for the longest case, its answer and the decode steps that are timed. */
export function passkeyRoom(cases: readonly PasskeyCase[], runs: readonly PasskeyRun[]): Room {
  const longest = (of: (one: PasskeyCase) => number): number => Math.max(...cases.map(of));
  return {
    prompt: longest((one) => one.prompt.length),
    after: longest((one) => one.question.length + one.answerTokens + DECODE_TOKENS),
    signals: runs.flatMap((run) => run.strategy.signals),
  };
}

function progressOf(settings: PasskeySettings, progress: Progress): (event: PasskeyEvent) => void {
  let where = "";
  let right: boolean[] = [];
  let full = false;
  return (event) => {
    if (event.type === "case") {
      where = `key ${event.trial + 1} of ${event.trials}, at ${Math.round(event.depth)} %`;
      right = [];
    }
    if (event.type === "read") progress.now(`${where}: reading ${event.done} of ${event.total} tokens`);
    if (event.type !== "answer") return;
    if (event.run === null) full = event.answer.right;
    else right.push(event.answer.right);
    const next = settings.runs[right.length];
    if (next !== undefined) return progress.now(`${where}: ${next.strategy.expression} at ${next.ratio}x`);
    const found = right.filter((each) => each).length;
    progress.done(
      `${where}: full cache ${full ? "right" : "wrong"}, ${found} of ${plural(right.length, "folded cache")} right`,
    );
  };
}
