/** Makes sense of the flags of `kvfold passkey` and refuses what cannot work, before a model is loaded. */
import { KvfoldError } from "@kvfold/core";
import {
  type Haystack,
  junkHaystack,
  type KeyKind,
  type PasskeyRun,
  proseHaystack,
  spreadDepths,
} from "@kvfold/eval";
import { type CacheFlags, refuseCacheFlags } from "../engine.js";
import { refuseMissingFolder } from "../files.js";
import { type ModelFile, resolveModelFile } from "../model-file.js";
import { chosenRuns, refuseRatios, type StrategyFlags } from "../strategies.js";
import { demoRuns } from "./demo.js";

/** What commander hands over. */
export interface PasskeyFlags extends StrategyFlags, CacheFlags {
  readonly model: string;
  readonly tokens: number;
  readonly key: KeyKind;
  readonly trials?: number;
  readonly depths?: readonly number[];
  readonly haystack: string;
  readonly foldEvery?: number;
  readonly seed: number;
  readonly threads?: number;
  readonly savePlan?: string;
  readonly demo?: true;
  readonly json?: true;
}

/** Flags with every default filled in and every name resolved. */
export interface PasskeySettings extends Omit<PasskeyFlags, "model" | "haystack" | "ratio" | "strategy"> {
  readonly model: ModelFile;
  readonly haystack: Haystack;
  readonly runs: readonly PasskeyRun[];
  readonly trials: number;
  readonly depths: readonly number[];
}

const DEFAULT_TRIALS = 8;

/** @throws KvfoldError with a code of the caller's words, KVFOLD_FILE or KVFOLD_MODEL_FILE */
export async function passkeySettings(flags: PasskeyFlags): Promise<PasskeySettings> {
  refuseContradictions(flags);
  refuseRatios(flags.ratio, flags.tokens);
  const runs = flags.demo === true ? await demoRuns(flags.foldEvery !== undefined) : await chosenRuns(flags);
  if (flags.foldEvery !== undefined) refuseRepeat(runs);
  if (flags.savePlan !== undefined) await refuseMissingFolder(flags.savePlan);
  const trials = flags.trials ?? flags.depths?.length ?? DEFAULT_TRIALS;
  const { threads = flags.demo === true ? 1 : undefined, model, haystack, ...rest } = flags;
  return {
    ...rest,
    ...(threads === undefined ? {} : { threads }),
    runs,
    trials,
    depths: flags.depths ?? spreadDepths(trials),
    haystack: haystack === "junk" ? junkHaystack : await proseHaystack(haystack),
    model: await resolveModelFile(model),
  };
}

// ---------------------------------------------------------------------------------------------------------------

function refuseContradictions(flags: PasskeyFlags): void {
  const refuse = (what: string, hint: string): never => {
    throw new KvfoldError("KVFOLD_ARGUMENT", what, { hint });
  };
  if (flags.demo === true && (flags.strategy ?? flags.ratio ?? flags.savePlan) !== undefined) {
    refuse(
      "--demo has its own strategies and ratios",
      "leave out --demo, or --strategy, --ratio and --save-plan",
    );
  }
  refuseCacheFlags(flags);
  if (flags.savePlan === undefined) return;
  if (flags.foldEvery !== undefined) {
    refuse("--save-plan needs one fold, and --fold-every makes many", "leave out one of the two");
  }
  if ((flags.strategy?.length ?? 1) * (flags.ratio?.length ?? 1) > 1) {
    refuse("--save-plan needs one strategy and one ratio", "run it once for each plan");
  }
}

/** @throws KvfoldError KVFOLD_ARGUMENT when a strategy wants what a context that is folded on the way cannot give */
export function refuseRepeat(runs: readonly PasskeyRun[]): void {
  const run = runs.find(({ strategy }) => strategy.signals.includes("repeat"));
  if (run === undefined) return;
  throw new KvfoldError(
    "KVFOLD_ARGUMENT",
    `${run.strategy.expression} reads the whole context a second time, and --fold-every folds it on the way`,
    { hint: "leave out --fold-every, or take a strategy without repeat" },
  );
}
