/** Every backend keeps every promise of an executor, against the TypeScript reference. */
import { testExecutor } from "@kvfold/testkit";
import { HOST_BACKENDS } from "../test/host-backends.js";
import { createNativeExecutor } from "./executor.js";
import { memoryFromTarget } from "./memory.js";

const ALL = ["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1"] as const;

for (const backend of HOST_BACKENDS) {
  testExecutor(
    `native-${backend}`,
    () => createNativeExecutor({ backend, threads: 2 }),
    (memory) => ({ target: memoryFromTarget(memory) }),
    { mustSupport: ALL, randomRuns: 60, seed: 11 },
  );
}
