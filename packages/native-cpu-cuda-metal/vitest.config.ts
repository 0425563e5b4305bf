import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    name: "native-cpu-cuda-metal",
    include: ["src/**/*.test.ts", "test/**/*.test.ts"],
    pool: "forks",
    testTimeout: 180_000,
  },
});
