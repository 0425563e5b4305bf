/** The public surface of @kvfold/native. */

export type { MemoryExternal } from "./addon.js";
export {
  type BenchOptions,
  type BenchResult,
  type BenchRow,
  type BenchShape,
  benchOperations,
  runBench,
} from "./bench.js";
export {
  createNativeExecutor,
  type FaultWalk,
  type NativeBackend,
  type NativeExecutor,
  type NativeExecutorOptions,
  type NativeFoldTransaction,
  type NativePrepareOptions,
} from "./executor.js";
export { type BackendInfo, backendInfo } from "./load.js";
export {
  memoryFromTarget,
  type NativeMemory,
  type NativeTarget,
  nativeMemoryFromExternal,
  releaseMemory,
} from "./memory.js";
export {
  type AttendedLayer,
  type AttendRowsOptions,
  type NativeOps,
  type NativeOpsOptions,
  nativeOps,
  type ReadOptions,
  type TurnOptions,
} from "./ops.js";
export { DEFAULT_MEMORY_LIMIT } from "./sample.js";
export { defaultThreads, MAX_THREADS, physicalCores } from "./threads.js";
