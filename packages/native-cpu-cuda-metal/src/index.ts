/** The public surface of @kvfold/native. */

export type { MemoryExternal } from "./addon.js";
export {
  createNativeExecutor,
  type FaultWalk,
  type NativeBackend,
  type NativeExecutorOptions,
} from "./executor.js";
export { type BackendInfo, backendInfo } from "./load.js";
export {
  memoryFromTarget,
  type NativeMemory,
  type NativeTarget,
  nativeMemoryFromExternal,
  releaseMemory,
} from "./memory.js";
export { type NativeOps, type NativeOpsOptions, nativeOps, type ReadOptions } from "./ops.js";
export { defaultThreads, MAX_THREADS, physicalCores } from "./threads.js";
