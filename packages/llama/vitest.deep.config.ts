/** What takes long: every fault point, many random lives, bent model files, speed at eight thousand cells. */
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    name: "llama deep",
    include: ["test/**/*.deep.ts", "test/**/*.prop.test.ts", "src/**/*.prop.test.ts"],
    pool: "forks",
    fileParallelism: false,
    testTimeout: 600_000,
    env: { KVFOLD_FAST_CHECK_RUNS: "15" },
  },
});
