/** The versions of Node that are accepted are those of package.json. */
import { expect, test } from "vitest";
import { nodeCheck } from "./doctor.js";

test.each(["20.19.0", "20.20.2", "22.12.0", "22.20.1", "23.0.0", "24.1.0"])("Node %s works", (version) => {
  expect(nodeCheck(version)).toMatchObject({ ok: true, fix: "" });
});

test.each(["18.20.0", "20.18.3", "21.7.3", "22.11.0"])("Node %s does not", (version) => {
  const check = nodeCheck(version);
  expect(check.ok).toBe(false);
  expect(check.fix).toMatch(/20\.19/);
});
