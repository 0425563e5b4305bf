/** Strategies from modules, and what is said about modules that hold none. */
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { isModulePath, loadStrategy, loadWrapper } from "./load-module.js";

const cwd = join(import.meta.dirname, "../test/fixtures/modules");

describe("loadStrategy", () => {
  it("takes a factory, a strategy and a function", async () => {
    expect((await loadStrategy("./factory.mjs", { size: 3 }, { cwd })).expression).toBe(
      "from-module(size=3)",
    );
    expect((await loadStrategy(join(cwd, "finished.mjs"), undefined)).expression).toBe("finished");
    expect((await loadStrategy("./function.mjs", { a: [1] }, { cwd })).expression).toBe('{"a":[1]}');
  });

  it.each([
    ["./missing.mjs", /does not exist.*looked for at/],
    [".", /is not a file/],
    ["./throws.mjs", /cannot be loaded: out of order/],
    ["./throws-later.mjs", /factory that throws: no such thing/],
    ["./nothing.mjs", /exports nothing by default; export default what defineStrategy returns/],
    ["./wrong.mjs", /exports an object with name, plan by default/],
    ["./wrong-later.mjs", /a function that returns 42/],
    ["./wrapper.mjs", /exports a wrapper by default/],
  ])("explains %s", async (path, message) => {
    const error = await loadStrategy(path, undefined, { cwd }).catch((caught: unknown) => caught);
    expect(error).toMatchObject({ code: "KVFOLD_MODULE", message: expect.stringMatching(message) });
  });

  it("cannot set options of a finished strategy", async () => {
    const loading = loadStrategy("./finished.mjs", { size: 3 }, { cwd });
    await expect(loading).rejects.toMatchObject({ code: "KVFOLD_UNKNOWN_OPTION", who: "finished" });
  });
});

it("loads wrappers, and only them", async () => {
  expect((await loadWrapper("./wrapper.mjs", { cwd })).definition.name).toBe("outer");
  await expect(loadWrapper("./factory.mjs", { cwd })).rejects.toMatchObject({ code: "KVFOLD_MODULE" });
  await expect(loadWrapper("./wrong.mjs", { cwd })).rejects.toMatchObject({ code: "KVFOLD_MODULE" });
});

it("tells paths from names", () => {
  expect(["./x", "a/b", "x.mjs", "x.JS", "x.ts", "a\\b"].map(isModulePath)).toEqual(Array(6).fill(true));
  expect(["mean", "head-pick", "x.json", "x.mjs.bak"].map(isModulePath)).toEqual(Array(4).fill(false));
});
