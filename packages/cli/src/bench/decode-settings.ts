/** Makes sense of the flags of `kvfold bench decode` and refuses what cannot work, before a model is loaded. */
import { type GridRun, readText } from "@kvfold/eval";
import { heldoutTextPath } from "@kvfold/model-nano";
import { type CacheFlags, type EngineSettings, refuseCacheFlags } from "../engine.js";
import { resolveModelFile } from "../model-file.js";
import { chosenRuns, refuseRatios, type StrategyFlags } from "../strategies.js";

export interface DecodeFlags extends StrategyFlags, CacheFlags {
  readonly model: string;
  readonly tokens: number;
  readonly runs: number;
  readonly text?: string;
  readonly seed: number;
  readonly threads?: number;
  readonly json?: true;
}

/** Flags with every default filled in and every name resolved. */
export interface DecodeSettings extends EngineSettings {
  readonly plans: readonly GridRun[];
  readonly tokens: number;
  readonly runs: number;
  readonly text: string;
  readonly textName: string;
  readonly seed: number;
  readonly json: boolean;
}

/** @throws KvfoldError with a code of the caller's words, KVFOLD_FILE or KVFOLD_MODEL_FILE */
export async function decodeSettings(flags: DecodeFlags): Promise<DecodeSettings> {
  const { tokens, runs, seed, threads, cacheType, flashAttention } = flags;
  refuseCacheFlags(flags);
  refuseRatios(flags.ratio, tokens);
  return {
    plans: await chosenRuns(flags),
    model: await resolveModelFile(flags.model),
    text: await readText(flags.text ?? heldoutTextPath, "the text"),
    textName: flags.text ?? "heldout.txt",
    ...{ tokens, runs, seed, cacheType, flashAttention },
    ...(threads === undefined ? {} : { threads }),
    json: flags.json === true,
  };
}
