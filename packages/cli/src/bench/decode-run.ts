/** Opens the engine and measures how fast full, folded and native caches decode. */
import {
  DECODE_TOKENS,
  type DecodeEvent,
  type DecodeSummary,
  makeKlWindows,
  runDecode,
  summariseDecode,
} from "@kvfold/eval";
import { type OpenOptions, refuseTokens, withEngine, withModel } from "../engine.js";
import type { DecodeSettings } from "./decode-settings.js";

/** What one strategy at one ratio gave. */
export interface DecodeResult extends DecodeSummary {
  readonly strategy: string;
  readonly ratio: number;
}

export interface DecodeRunOptions extends Omit<OpenOptions, "settings"> {
  /** Takes each result as soon as it is there. */
  readonly onResult: (result: DecodeResult) => void;
}

/** @throws KvfoldError as the engine, the strategies and the task do; KVFOLD_ABORTED when `signal` fires */
export async function runDecodeBench(settings: DecodeSettings, options: DecodeRunOptions): Promise<void> {
  const { tokens, runs, text, textName } = settings;
  await withModel({ settings, ...options }, async (model) => {
    refuseTokens(model, tokens + DECODE_TOKENS, `--tokens ${tokens} with ${DECODE_TOKENS} to decode`);
    const [window] = await makeKlWindows(model, {
      text,
      name: textName,
      tokens,
      windows: 1,
      window: DECODE_TOKENS,
    });
    const signals = settings.plans.flatMap((plan) => plan.strategy.signals);
    await withEngine(model, settings, { prompt: tokens, after: DECODE_TOKENS, signals }, async (engine) => {
      for (const { strategy, ratio } of settings.plans) {
        const name = `${strategy.expression} at ${ratio}x`;
        const rounds = await runDecode(engine, {
          ...{ strategy, ratio, runs, prompt: window!.context, next: window!.next },
          ...{ seed: settings.seed, signal: options.signal },
          onEvent: (event) => options.progress.now(`${name}: ${describe(event)}`),
        });
        options.progress.done(`${name}: done`);
        options.onResult({ ...summariseDecode(rounds), strategy: strategy.expression, ratio });
      }
    });
  });
}

// ---------------------------------------------------------------------------------------------------------------

const STEPS: Readonly<Record<DecodeEvent["step"], string>> = {
  read: "reading",
  capture: "reading with signals",
  fold: "folding",
  native: "reading as many tokens as cells stayed",
  decode: "decoding",
};

const describe = ({ round, rounds, step }: DecodeEvent): string =>
  round === 0 ? `warm-up, ${STEPS[step]}` : `run ${round} of ${rounds - 1}, ${STEPS[step]}`;
