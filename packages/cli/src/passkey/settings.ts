/** Makes sense of the flags of `kvfold passkey` and refuses what cannot work, before a model is loaded. */
import { KvfoldError, resolveStrategy } from "@kvfold/core";
import {
  type Haystack,
  junkHaystack,
  type KeyKind,
  type PasskeyRun,
  proseHaystack,
  spreadDepths,
} from "@kvfold/eval";
import { createDefaultRegistry, defaultStrategy } from "@kvfold/strategies";
import { refuseMissingFolder } from "../files.js";
import { type ModelFile, resolveModelFile } from "../model-file.js";
import { demoRuns } from "./demo.js";

/** What commander hands over. */
export interface PasskeyFlags {
  readonly model: string;
  readonly strategy?: readonly string[];
  readonly ratio?: readonly number[];
  readonly tokens: number;
  readonly key: KeyKind;
  readonly trials?: number;
  readonly depths?: readonly number[];
  readonly haystack: string;
  readonly foldEvery?: number;
  readonly cacheType: "f16" | "q8_0";
  readonly flashAttention: "on" | "off";
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
const DEFAULT_RATIO = 4;

/** @throws KvfoldError with a code of the caller's words, KVFOLD_FILE or KVFOLD_MODEL_FILE */
export async function passkeySettings(flags: PasskeyFlags): Promise<PasskeySettings> {
  refuseContradictions(flags);
  for (const ratio of flags.ratio ?? []) {
    if (ratio > flags.tokens) {
      throw new KvfoldError("KVFOLD_RATIO", `a ratio of ${ratio} leaves no cell of ${flags.tokens} tokens`, {
        hint: "ask for a smaller ratio; 2 to 8 are usual",
      });
    }
  }
  const runs = flags.demo === true ? await demoRuns() : await chosenRuns(flags);
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

async function chosenRuns(flags: PasskeyFlags): Promise<PasskeyRun[]> {
  const registry = createDefaultRegistry();
  const strategies =
    flags.strategy === undefined
      ? [defaultStrategy()]
      : await Promise.all(
          flags.strategy.map((text) => resolveStrategy(text, registry, { cwd: process.cwd() })),
        );
  return strategies.flatMap((strategy) =>
    (flags.ratio ?? [DEFAULT_RATIO]).map((ratio) => ({ strategy, ratio })),
  );
}

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
  if (flags.cacheType === "q8_0" && flags.flashAttention === "off") {
    refuse("a q8_0 cache needs flash attention", "leave out --flash-attention off, or take --cache-type f16");
  }
  if (flags.savePlan === undefined) return;
  if (flags.foldEvery !== undefined) {
    refuse("--save-plan needs one fold, and --fold-every makes many", "leave out one of the two");
  }
  if ((flags.strategy?.length ?? 1) * (flags.ratio?.length ?? 1) > 1) {
    refuse("--save-plan needs one strategy and one ratio", "run it once for each plan");
  }
}
