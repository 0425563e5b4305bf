/** All test projects of the repository: one for each package, and `repository` for checks that span packages. */
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    projects: [
      "packages/*/vitest.config.ts",
      // all tests and documents are type-checked: seconds, but many on a busy machine
      { test: { name: "repository", include: ["test/**/*.test.ts"], pool: "forks", testTimeout: 300_000 } },
    ],
  },
});
