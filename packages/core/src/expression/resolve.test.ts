/** From text to strategies. */
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { identityPlan } from "../plan/keep.js";
import { createRegistry } from "../registry.js";
import { defineScorer, type Scorer } from "../scorer.js";
import type { StandardSchemaV1 } from "../standard-schema.js";
import { defineStrategy } from "../strategy.js";
import { defineWrapper } from "../wrapper.js";
import { resolveScorer, resolveStrategy } from "./resolve.js";

const cwd = join(import.meta.dirname, "../../test/fixtures/modules");

function anything<O>(): StandardSchemaV1<unknown, O> {
  return { "~standard": { version: 1, vendor: "test", validate: (value) => ({ value: value as O }) } };
}

const scores = { score: () => ({ scope: "shared" as const, data: new Float32Array(1) }) };
const near = defineScorer({ name: "near", summary: "", create: () => scores });
const far = defineScorer({
  name: "far",
  summary: "",
  options: { schema: anything<{ by: number }>(), info: { by: { default: 1, description: "" } } },
  create: () => scores,
});
const most = defineScorer({
  name: "most",
  summary: "",
  options: {
    schema: anything<{ of: readonly Scorer[] }>(),
    info: { of: { default: [], description: "", kind: "scorers" } },
  },
  positional: "of",
  create: () => scores,
});
const keep = defineStrategy({
  name: "keep",
  summary: "",
  options: {
    schema: anything<{ by: Scorer; size: number; list: string }>(),
    info: {
      by: { default: near(), description: "", kind: "scorer", always: true },
      size: { default: 1, description: "" },
      list: { default: "", description: "" },
    },
  },
  create: ({ list }, { readText }) => {
    if (list !== "") readText(list, 100);
    return { plan: identityPlan };
  },
});
const around = defineWrapper({
  name: "around",
  summary: "",
  options: { schema: anything<{ width: number }>(), info: { width: { default: 0, description: "" } } },
  create: (_options, inner) => ({ plan: (view, context) => inner.plan(view, context) }),
});
const registry = createRegistry([near, far, most, keep, around]);
const expressionOf = async (text: string): Promise<string> =>
  (await resolveStrategy(text, registry, { cwd })).expression;

describe("resolveStrategy", () => {
  it.each([
    ["keep", "keep(by=near)"],
    [" around ( width = 3 ) > around > keep ( size = 2 )", "around(width=3) > around > keep(by=near,size=2)"],
    ["keep(by=far)", "keep(by=far)"],
    ["keep(by=far(by=2))", "keep(by=far(by=2))"],
    ["keep(by=most(near,far(by=2),most(of=near)))", "keep(by=most(near,far(by=2),most(near)))"],
    ["./factory.mjs", "from-module(size=1)"],
    ["around > ./factory.mjs(size=5)", "around > from-module(size=5)"],
    ['./wrapper.mjs > "./finished.mjs"', "outer > finished"],
  ])("%s makes %s", async (text, expression) => {
    expect(await expressionOf(text)).toBe(expression);
    // what it says of itself makes it again
    if (!text.includes(".mjs")) expect(await expressionOf(expression)).toBe(expression);
  });

  it.each([
    ["kepe", "KVFOLD_UNKNOWN_STRATEGY", "did you mean keep?"],
    ["arround > keep", "KVFOLD_UNKNOWN_STRATEGY", "did you mean around?"],
    [
      "around",
      "KVFOLD_UNKNOWN_STRATEGY",
      "around is a wrapper; it stands before a strategy: wrapper > strategy",
    ],
    ["keep(by=fra)", "KVFOLD_UNKNOWN_STRATEGY", "did you mean far?"],
    ["keep(by=3)", "KVFOLD_ARGUMENT", "name a scorer, as keydiff, or call one, as max(keydiff,surprise)"],
    ["keep(sise=3)", "KVFOLD_UNKNOWN_OPTION", "did you mean size?"],
    ["keep(3)", "KVFOLD_UNKNOWN_OPTION", "write by=value; there are: by, size, list"],
    ["keep(size=near())", "KVFOLD_ARGUMENT", undefined],
    ["keep(by=most(near,of=[far]))", "KVFOLD_ARGUMENT", undefined],
    ["keep(list=nothing.json)", "KVFOLD_FILE", "give the path of a text file"],
    ["./finished.mjs(3)", "KVFOLD_UNKNOWN_OPTION", "write name=value"],
    ["./nowhere.mjs", "KVFOLD_MODULE", `it was looked for at ${join(cwd, "nowhere.mjs")}`],
    ["keep(__proto__=1)", "KVFOLD_UNKNOWN_OPTION", "there are: by, size, list"],
  ])("%s is refused with %s", async (text, code, hint) => {
    await expect(resolveStrategy(text, registry, { cwd })).rejects.toMatchObject({ code, hint });
  });

  it("reads files of limited size, in UTF-8, below the folder it is given", async () => {
    await expect(resolveStrategy("keep(list=factory.mjs)", registry, { cwd })).rejects.toThrow(
      /more than the 100 allowed/,
    );
    await expect(resolveStrategy("keep(list=nothing.mjs)", registry, { cwd })).resolves.toBeDefined();
    await expect(resolveStrategy("keep(list=.)", registry, { cwd })).rejects.toThrow(/is not a file/);
  });
});

it("resolves scorers by themselves", () => {
  expect(resolveScorer("most(near,far)", registry).expression).toBe("most(near,far)");
  expect(() => resolveScorer("around > near", registry)).toThrow(/no wrappers/);
});
