/** Makes sense of the flags of `kvfold eval` and refuses what cannot work, before a model is loaded. */
import { KvfoldError } from "@kvfold/core";
import {
  type GridRun,
  type Haystack,
  junkHaystack,
  type KeyKind,
  proseHaystack,
  readText,
} from "@kvfold/eval";
import { heldoutTextPath } from "@kvfold/model-nano";
import { type CacheFlags, type EngineSettings, refuseCacheFlags } from "../engine.js";
import { refuseMissingFolder } from "../files.js";
import { modelHash, resolveModelFile } from "../model-file.js";
import { refuseRepeat } from "../passkey/settings.js";
import { chosenRuns, refuseRatios, type StrategyFlags } from "../strategies.js";

/** What both tasks take. */
export interface GridFlags extends StrategyFlags, CacheFlags {
  readonly model: string;
  readonly tokens: readonly number[];
  readonly seed: number;
  readonly threads?: number;
  readonly output?: string;
  readonly json?: true;
}

export interface KlFlags extends GridFlags {
  readonly text?: string;
  readonly windows: number;
  readonly window: number;
}

export interface PasskeyGridFlags extends GridFlags {
  readonly key: readonly KeyKind[];
  readonly haystack: readonly string[];
  readonly trials: number;
  readonly foldEvery?: number;
}

/** Flags with every default filled in and every name resolved. */
export interface GridSettings extends EngineSettings {
  readonly runs: readonly GridRun[];
  readonly tokens: readonly number[];
  readonly seed: number;
  readonly modelHash: string;
  readonly output: string | undefined;
  readonly json: boolean;
}

export interface KlSettings extends GridSettings {
  readonly text: string;
  /** As it was asked for. */
  readonly textName: string;
  readonly windows: number;
  readonly window: number;
}

export interface PasskeyGridSettings extends GridSettings {
  readonly keys: readonly KeyKind[];
  readonly haystacks: readonly Haystack[];
  readonly trials: number;
  readonly foldEvery: number | undefined;
}

/** The text that comes with the embedded model. */
const HELD_OUT = "heldout.txt";

/** @throws KvfoldError with a code of the caller's words, KVFOLD_FILE or KVFOLD_MODEL_FILE */
export async function klSettings(flags: KlFlags): Promise<KlSettings> {
  return {
    ...(await gridSettings(flags)),
    text: await readText(flags.text ?? heldoutTextPath, "the text"),
    textName: flags.text ?? HELD_OUT,
    windows: flags.windows,
    window: flags.window,
  };
}

/** @throws KvfoldError with a code of the caller's words, KVFOLD_FILE or KVFOLD_MODEL_FILE */
export async function passkeyGridSettings(flags: PasskeyGridFlags): Promise<PasskeyGridSettings> {
  const settings = await gridSettings(flags);
  if (flags.foldEvery !== undefined) refuseRepeat(settings.runs);
  return {
    ...settings,
    keys: flags.key,
    haystacks: await Promise.all(
      flags.haystack.map((name) => (name === "junk" ? junkHaystack : proseHaystack(name))),
    ),
    trials: flags.trials,
    foldEvery: flags.foldEvery,
  };
}

// ---------------------------------------------------------------------------------------------------------------

async function gridSettings(flags: GridFlags): Promise<GridSettings> {
  refuseCacheFlags(flags);
  refuseRatios(flags.ratio, Math.min(...flags.tokens));
  const runs = await chosenRuns(flags);
  refuseTwins(runs);
  if (flags.output !== undefined) await refuseMissingFolder(flags.output);
  const model = await resolveModelFile(flags.model);
  const { tokens, seed, cacheType, flashAttention, threads } = flags;
  return {
    model,
    modelHash: await modelHash(model),
    runs,
    tokens,
    seed,
    cacheType,
    flashAttention,
    ...(threads === undefined ? {} : { threads }),
    output: flags.output,
    json: flags.json === true,
  };
}

/** Two modules whose strategies call themselves the same would end in one row. */
function refuseTwins(runs: readonly GridRun[]): void {
  const twin = runs.find((run) =>
    runs.some(
      (other) => other.strategy.expression === run.strategy.expression && other.identity !== run.identity,
    ),
  );
  if (twin === undefined) return;
  throw new KvfoldError("KVFOLD_ARGUMENT", `two strategies call themselves ${twin.strategy.expression}`, {
    hint: "give them different names, or measure them one after another",
  });
}
