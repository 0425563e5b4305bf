/** Cells that the processor reaches by address: the native executor works in place. */
import type { Executor } from "@kvfold/core";
import {
  createNativeExecutor,
  type NativeMemory,
  type NativeOps,
  type NativeTarget,
  nativeOps,
} from "@kvfold/native";
import type { CellsAccess, CellsTarget } from "./access.js";

/** The native package on the processor. */
export interface HostTools {
  readonly executor: Executor<NativeTarget>;
  readonly ops: NativeOps;
}

/** @throws KvfoldError KVFOLD_NATIVE_MISSING */
export const hostTools = (threads: number): HostTools => ({
  executor: createNativeExecutor({ threads }),
  ops: nativeOps({ threads }),
});

export function hostAccess({ executor, ops }: HostTools, memory: NativeMemory): CellsAccess {
  const at = (cells: CellsTarget): NativeTarget => ({ ...cells, memory });
  return {
    supports: (shape) => executor.supports(shape),
    prepare: (cells, plan, options) => executor.prepare(at(cells), plan, options),
    keys: (cells, layer, frame) => ops.keys(at(cells), layer, frame),
    values: (cells, layer) => ops.values(at(cells), layer),
    keyStats: (cells, layer, options) => ops.keyStats(at(cells), layer, options),
    turnQueries: (cells, ...rest) => ops.turnQueries(at(cells), ...rest),
    attend: (cells, ...rest) => ops.attend(at(cells), ...rest),
  };
}
