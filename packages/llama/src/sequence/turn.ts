/** Work on one sequence, in the order in which it was asked for. */
import { needStill, needUsable, type SequenceState } from "./state.js";

const turns = new WeakMap<SequenceState, Promise<void>>();

/**
 * Runs after the work that was asked for before; refused at once while a lease or a fold holds the cells.
 * @param mends the work makes a broken sequence usable again
 * @throws KvfoldError KVFOLD_CACHE_BUSY, KVFOLD_DISPOSED
 */
export async function inTurn<T>(state: SequenceState, work: () => Promise<T>, mends = false): Promise<T> {
  needStill(state, mends);
  const before = turns.get(state) ?? Promise.resolve();
  state.waiting += 1;
  const mine = before.then(async () => {
    needUsable(state, mends);
    return work();
  });
  turns.set(
    state,
    mine.then(
      () => {},
      () => {},
    ),
  );
  try {
    return await mine;
  } finally {
    state.waiting -= 1;
  }
}
