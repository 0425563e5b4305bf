/** Opens the engine, runs the passkey task on it, and reports progress. */
import { KvfoldError, type MergePlan } from "@kvfold/core";
import {
  DECODE_TOKENS,
  type EvalEngine,
  makePasskeyCases,
  median,
  type PasskeyCase,
  type PasskeyEvent,
  type PasskeyRow,
  passkeyRows,
  runPasskey,
} from "@kvfold/eval";
import { type LlamaModel, loadModel, prefillAndFold, type Snapshot } from "@kvfold/llama";
import { plural } from "../ui/numbers.js";
import type { Progress } from "../ui/progress.js";
import type { PasskeySettings } from "./settings.js";

export interface PasskeyResult {
  readonly rows: readonly PasskeyRow[];
  /** Milliseconds to read a prompt; the median. */
  readonly prefillMs: number;
  /** The plan of the first fold, and the text of the cells that it was made for. */
  readonly plan: MergePlan;
  readonly pieces: readonly string[];
}

/** Contexts are made in steps of this many cells. */
const CONTEXT_STEP = 256;

/** @throws KvfoldError as the engine, the strategies and the task do; KVFOLD_ABORTED when `signal` fires */
export async function measurePasskey(
  settings: PasskeySettings,
  progress: Progress,
  signal: AbortSignal,
): Promise<PasskeyResult> {
  progress.now("loading the model");
  const model = await loadModel({
    modelPath: settings.model.path,
    signal,
    onProgress: (fraction) => progress.now(`loading the model, ${Math.round(100 * fraction)} %`),
  });
  try {
    refuseModel(model, settings);
    return await measure(model, settings, progress, signal);
  } finally {
    await model.dispose();
  }
}

// ---------------------------------------------------------------------------------------------------------------

async function measure(
  model: LlamaModel,
  settings: PasskeySettings,
  progress: Progress,
  signal: AbortSignal,
): Promise<PasskeyResult> {
  const cases = makePasskeyCases(model, settings);
  const context = await model.createContext({
    contextSize: contextSize(cases),
    flashAttention: settings.flashAttention,
    cacheType: settings.cacheType,
    ...(settings.threads === undefined ? {} : { threads: settings.threads }),
  });
  try {
    if (context.supported !== true) throw unsupported(settings, context.supported);
    const sequence = context.sequence();
    const engine: EvalEngine<Snapshot> = {
      sequence,
      readAndFold: (tokens, options) => prefillAndFold(sequence, tokens, options),
    };
    let plan: MergePlan | undefined;
    const show = progressOf(settings, progress);
    const trials = await runPasskey(engine, {
      cases,
      runs: settings.runs,
      seed: settings.seed,
      signal,
      ...(settings.foldEvery === undefined ? {} : { foldEvery: settings.foldEvery }),
      onEvent: (event) => {
        if (event.type === "fold") plan ??= event.report.plan;
        show(event);
      },
    });
    return {
      rows: passkeyRows(settings.runs, trials),
      prefillMs: median(trials.map((trial) => trial.prefillMs)),
      plan: plan!,
      pieces: Array.from(cases[0]!.prompt, (token) => model.tokenText(token)),
    };
  } finally {
    await context.dispose();
  }
}

function refuseModel(model: LlamaModel, settings: PasskeySettings): void {
  const { supported, trainedContext } = model.info;
  if (supported !== true) {
    throw new KvfoldError(
      "KVFOLD_MODEL_UNSUPPORTED",
      `the model ${JSON.stringify(settings.model.name)}: ${supported}`,
      {
        hint: "kvfold inspect model shows what is known about it",
      },
    );
  }
  if (settings.tokens > trainedContext) {
    throw new KvfoldError("KVFOLD_ARGUMENT", `--tokens ${settings.tokens} is beyond the model's context`, {
      hint: `it was trained for ${trainedContext} tokens; ask for at most as many`,
    });
  }
}

function unsupported(settings: PasskeySettings, reason: string): KvfoldError {
  return new KvfoldError(
    "KVFOLD_MODEL_UNSUPPORTED",
    `the cache of ${settings.model.name} cannot be folded: ${reason}`,
    {
      hint: "kvfold inspect model shows what is known about it",
    },
  );
}

/** Room for the longest case, its answer and the decode steps that are timed. */
function contextSize(cases: readonly PasskeyCase[]): number {
  const longest = Math.max(
    ...cases.map((one) => one.prompt.length + one.question.length + one.answerTokens + DECODE_TOKENS),
  );
  return Math.ceil(longest / CONTEXT_STEP) * CONTEXT_STEP;
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
