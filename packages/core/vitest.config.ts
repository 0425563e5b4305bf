import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    name: "core",
    include: ["src/**/*.test.ts", "test/**/*.test.ts"],
    pool: "forks",
    isolate: false, // nothing here has a global state, and the files are many and small
    testTimeout: 180_000,
  },
});
