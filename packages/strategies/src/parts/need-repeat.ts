/** The signal `repeat`, or the error that says how to get it. */
import { type CacheView, KvfoldError, type RepeatAttention } from "@kvfold/core";

/** @throws KvfoldError KVFOLD_SIGNAL_MISSING */
export function needRepeat({ signals: { repeat } }: CacheView, who: string): RepeatAttention {
  if (repeat !== null) return repeat;
  throw new KvfoldError("KVFOLD_SIGNAL_MISSING", "the cache has no signal repeat", {
    who,
    hint: "ask for it before the prompt is read: the engine has to read the context a second time",
  });
}
