import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    name: "eval deep",
    include: ["test/**/*.deep.ts"],
    pool: "forks",
    fileParallelism: false,
    testTimeout: 600_000,
    hookTimeout: 60_000,
  },
});
