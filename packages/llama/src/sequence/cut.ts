/** Clearing a sequence, and going back to an earlier position. */
import { failure, wrongArgument } from "../native/errors.js";
import { takeBackQueries } from "./queries.js";
import { refreshBias } from "./slots.js";
import { forget } from "./snapshot.js";
import type { SequenceState } from "./state.js";
import { inTurn } from "./turn.js";

/** Removes all cells. Mends a broken sequence. */
export function clearSequence(state: SequenceState): Promise<void> {
  const { addon, handle, gate } = state.context;
  const clear = (): void => {
    addon.removeRange(handle, state.id, -1, -1);
    state.broken = null;
    forget(state);
    refreshBias(state, null);
  };
  return inTurn(state, () => gate.run(clear), true);
}

/**
 * Drops the cells at and after a position; decoding goes on there. Only cells that no fold has touched may go: folded
 * cells hold tokens from several places, and after a composite fold cells hold other tokens than their positions say.
 *
 *     [ folded cells ] a b c d      rewind to c: fine      rewind into the folded cells: KVFOLD_REWIND
 *
 * @throws KvfoldError KVFOLD_REWIND
 */
export function rewindSequence(state: SequenceState, position: number): Promise<void> {
  if (!Number.isInteger(position) || position < 0) {
    throw wrongArgument(`position is ${String(position)}`, "give a whole number of at least 0");
  }
  return inTurn(state, async () => {
    const { sidecar, context } = state;
    const next = sidecar.lastPosition + 1;
    if (position > next) throw wrongArgument(`position ${position} lies beyond the next one, ${next}`);
    const drop = next - position;
    if (drop === 0) return;
    checkCut(state, position, drop);
    await context.gate.run(async () => {
      if (!context.addon.removeRange(context.handle, state.id, position, -1)) {
        throw failure(
          "KVFOLD_REWIND",
          "llama.cpp cannot cut this kind of cache",
          "clear the sequence and prefill again",
        );
      }
      sidecar.drop(drop);
      state.tokensSeen -= drop;
      state.lastLogits = null;
      state.generation += 1;
      refreshBias(state, null);
      await takeBackQueries(state, drop);
    });
  });
}

function checkCut(state: SequenceState, position: number, drop: number): void {
  const refuse = (what: string): never => {
    throw failure("KVFOLD_REWIND", what, "restore a snapshot, or clear the sequence and prefill again");
  };
  if (state.context.raw.windowedPart) refuse("windowed layers have forgotten the tokens before");
  const { untouchedTail, cells } = state.sidecar;
  if (drop > untouchedTail) refuse(`position ${position} lies in folded cells`);
  // all that is left must end right before the position, or the tokens to come would stand too early
  const kept = cells - drop;
  const last = kept === 0 ? -1 : state.sidecar.records().positions[kept - 1]!;
  if (last !== position - 1) refuse(`the token before position ${position} was folded away`);
}
