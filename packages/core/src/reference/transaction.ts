/** Writes computed rows into a cache with an undo log, so that an interruption at any point can be taken back. */
import { KvfoldError } from "../errors.js";
import type { FitOutcome, FoldTransaction, MemoryTarget } from "../executor.js";
import type { FoldedLayer } from "./fold-layer.js";
import { keyPlane, type Plane, readRow, valuePlane, writeRow } from "./planes.js";

/** A moment in a fold. `row` counts key rows first, then value rows. */
export interface FoldStep {
  readonly phase: "prepare" | "commit" | "rollback";
  /** Index into `shape.layers`. */
  readonly layer: number;
  readonly row: number;
}

/** Called before each step; what it throws interrupts the fold there. For tests. */
export type FoldFault = (step: FoldStep) => void;

interface UndoEntry {
  readonly plane: Plane;
  readonly slot: number;
  readonly bytes: Uint8Array;
  readonly step: FoldStep;
}

type State = "prepared" | "committing" | "committed" | "rolled back" | "disposed";

/** A transaction over rows that are already computed. */
export function createTransaction(
  target: MemoryTarget,
  destinations: Uint32Array,
  layers: readonly FoldedLayer[],
  fits: readonly FitOutcome[] | null,
  fault: FoldFault,
): FoldTransaction {
  let state: State = "prepared";
  let pending: readonly FoldedLayer[] = layers;
  let log: UndoEntry[] = [];
  const need = (allowed: readonly State[], what: string): void => {
    if (allowed.includes(state)) return;
    const code = state === "disposed" ? "KVFOLD_DISPOSED" : "KVFOLD_INTERNAL";
    throw new KvfoldError(code, `cannot ${what} a fold that is ${state}`, { who: "reference" });
  };
  return {
    fits,
    async commit() {
      need(["prepared"], "commit");
      state = "committing";
      pending.forEach((layer, index) => {
        writeLayer(target, destinations, layer, index, (entry) => {
          fault(entry.step);
          log.push(entry);
        });
      });
      state = "committed";
    },
    async rollback() {
      need(["prepared", "committing", "committed", "rolled back"], "roll back");
      // an entry leaves the log after its row is back, so an interrupted rollback can be called again
      for (let entry = log.at(-1); entry !== undefined; entry = log.at(-1)) {
        fault({ ...entry.step, phase: "rollback" });
        writeRow(entry.plane, entry.slot, entry.bytes);
        log.pop();
      }
      state = "rolled back";
    },
    dispose() {
      state = "disposed";
      pending = [];
      log = [];
    },
  };
}

/** Saves each old row, then writes the new one; planes without new rows stay. */
function writeLayer(
  target: MemoryTarget,
  destinations: Uint32Array,
  folded: FoldedLayer,
  layer: number,
  save: (entry: UndoEntry) => void,
): void {
  const planes = [
    { plane: keyPlane(target, layer), rows: folded.keys },
    { plane: valuePlane(target, layer), rows: folded.values },
  ];
  planes.forEach(({ plane, rows }, which) => {
    if (rows.length === 0) return; // nothing of this plane changes
    destinations.forEach((slot, row) => {
      const bytes = new Uint8Array(plane.rowBytes);
      readRow(plane, slot, bytes);
      save({ plane, slot, bytes, step: { phase: "commit", layer, row: which * destinations.length + row } });
      writeRow(plane, slot, rows.subarray(row * plane.rowBytes, (row + 1) * plane.rowBytes));
    });
  });
}
