/** How the keys and values of a stream are reached: by address, or through the device that holds them. */
import type { AttendOptions, CacheShape, FoldTransaction, KeyFrame, KeyStats, MergePlan } from "@kvfold/core";
import type { NativeOps, NativePrepareOptions, NativeTarget } from "@kvfold/native";

/** The cells of one sequence, without the memory behind them. */
export type CellsTarget = Omit<NativeTarget, "memory">;

type Stop = Pick<AttendOptions, "signal">;
type Rest<Call> = Call extends (target: NativeTarget, ...rest: infer Others) => infer Result
  ? (cells: CellsTarget, ...rest: Others) => Result
  : never;

/** Executor and operations on the memory of one stream. */
export interface CellsAccess {
  /** true, or the reason why the cells cannot be folded, as a sentence. */
  supports(shape: CacheShape): true | string;
  /** As `Executor.prepare`. */
  prepare(cells: CellsTarget, plan: MergePlan, options: NativePrepareOptions): Promise<FoldTransaction>;
  /** As in `NativeOps`. */
  keys(cells: CellsTarget, layer: number, frame: KeyFrame): Promise<Float32Array>;
  values(cells: CellsTarget, layer: number): Promise<Float32Array>;
  keyStats(cells: CellsTarget, layer: number, options?: Stop): Promise<KeyStats>;
  readonly turnQueries: Rest<NativeOps["turnQueries"]>;
  readonly attend: Rest<NativeOps["attend"]>;
}
