/** Where the cells of a sequence lie, compared with what the records say. */
import { failure } from "../native/errors.js";
import { needLayers, type SequenceState } from "./state.js";

/**
 * Physical cell of every view cell: by position, ties by physical cell. Positions are compared with the records, so
 * that a change from outside is noticed instead of folded over.
 *
 * @returns [cells]
 * @throws KvfoldError KVFOLD_UNSUPPORTED for cells that another sequence holds as well, KVFOLD_INTERNAL when records
 * and cache disagree
 */
export function viewSlots(state: SequenceState): Uint32Array {
  needLayers(state);
  const { addon, handle } = state.context;
  const { slots, positions, shared } = addon.cellMap(handle, state.id);
  if (shared > 0) {
    throw failure(
      "KVFOLD_UNSUPPORTED",
      `${shared} cells are shared with another sequence`,
      "fold before a sequence is copied",
    );
  }
  const records = state.sidecar.records();
  // stable, and slots ascend already; most maps are in order and need no sort
  const order = Uint32Array.from(slots.keys());
  if (positions.some((position, i) => i > 0 && position < positions[i - 1]!)) {
    order.sort((a, b) => positions[a]! - positions[b]! || a - b);
  }
  const agrees =
    order.length === records.positions.length &&
    order.every((from, cell) => positions[from] === records.positions[cell]);
  if (!agrees) {
    throw failure(
      "KVFOLD_INTERNAL",
      "the cells of the sequence are not those that were recorded",
      "change a sequence only through this object",
    );
  }
  return order.map((from) => slots[from]!);
}

/**
 * Hands the biases of all sequences of a stream to the mask. Cells are reused, so the whole stream is written anew
 * after every change: a stale bias on a new token would be a silent error.
 *
 * @param own slots of the changed sequence in view order, or null to look them up
 */
export function refreshBias(state: SequenceState, own: Uint32Array | null): void {
  const { addon, handle, raw, sequences, layout } = state.context;
  if (layout === null) return;
  const slots: number[] = [];
  const bias: number[] = [];
  for (const other of raw.streams > 1 ? [state] : sequences.values()) {
    const values = other.sidecar.records().bias;
    if (values === null || other.broken !== null) continue;
    const cells = other === state && own !== null ? own : viewSlots(other);
    values.forEach((value, cell) => {
      if (value === 0) return;
      slots.push(cells[cell]!);
      bias.push(value);
    });
  }
  addon.setBias(handle, state.id, Uint32Array.from(slots), Float32Array.from(bias));
}
