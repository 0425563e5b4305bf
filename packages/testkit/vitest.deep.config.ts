/** The same tests with many more random cases. */
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    name: "testkit deep",
    include: ["src/**/*.test.ts"],
    pool: "forks",
    testTimeout: 600_000,
    env: { KVFOLD_FAST_CHECK_RUNS: "40" },
  },
});
