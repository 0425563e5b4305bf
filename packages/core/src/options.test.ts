/** Options of definitions: defaults, names, values, and the expression that says the same. */
import { describe, expect, it } from "vitest";
import { KvfoldError } from "./errors.js";
import { identityPlan } from "./plan/keep.js";
import { defineScorer, isScorer } from "./scorer.js";
import type { StandardSchemaResult, StandardSchemaV1 } from "./standard-schema.js";
import { defineStrategy, isStrategy } from "./strategy.js";
import { defineWrapper } from "./wrapper.js";

interface Options {
  readonly size: number;
  readonly name: string;
  readonly flags: readonly boolean[];
}

/** A schema by hand: whole sizes, names that are not empty. */
const schema: StandardSchemaV1<unknown, Options> = {
  "~standard": {
    version: 1,
    vendor: "test",
    validate: (value): StandardSchemaResult<Options> => {
      const options = value as Options;
      if (!Number.isInteger(options.size)) return { issues: [{ message: "must be whole", path: ["size"] }] };
      if (options.name === "") return { issues: [{ message: "must not be empty", path: [{ key: "name" }] }] };
      return { value: options };
    },
  },
};

const info = {
  size: { default: 4, description: "how many", unit: "cells" },
  name: { default: "x", description: "a name" },
  flags: { default: [], description: "switches" },
};

const made: Options[] = [];
const sample = defineStrategy<Options>({
  name: "sample",
  summary: "A test.",
  options: { schema, info },
  create: (options) => {
    made.push(options);
    return { plan: (view) => identityPlan(view) };
  },
});

function errorOf(call: () => unknown): KvfoldError {
  try {
    call();
  } catch (error) {
    if (error instanceof KvfoldError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

describe("options of a definition", () => {
  it("are completed with defaults", () => {
    sample({ size: 8 });
    expect(made.at(-1)).toEqual({ size: 8, name: "x", flags: [] });
    sample({ size: undefined } as unknown as Options);
    expect(made.at(-1)).toEqual({ size: 4, name: "x", flags: [] });
  });

  it.each([
    [{}, "sample"],
    [{ size: 4, name: "x", flags: [] }, "sample"],
    [{ name: "x" }, "sample"],
    [{ flags: [true], size: 8 }, "sample(size=8,flags=[true])"],
    [{ name: "a b" }, 'sample(name="a b")'],
    [{ size: -0 }, "sample(size=-0)"],
  ])("%j are written as %s", (options, expression) => {
    expect(sample(options).expression).toBe(expression);
  });

  it("have no other names", () => {
    const error = errorOf(() => sample({ siez: 3 } as unknown as Options));
    expect(error).toMatchObject({ code: "KVFOLD_UNKNOWN_OPTION", who: "sample", hint: "did you mean size?" });
    const special = JSON.parse('{"__proto__": 1}') as Options;
    expect(errorOf(() => sample(special)).code).toBe("KVFOLD_UNKNOWN_OPTION");
    expect(errorOf(() => sample({ toString: 1 } as unknown as Options)).code).toBe("KVFOLD_UNKNOWN_OPTION");
  });

  it.each([
    [{ size: 1.5 }, "option size is 1.5: must be whole", "size: how many [cells]"],
    [{ size: "many" }, 'option size is "many": must be whole', "size: how many [cells]"],
    [{ name: "" }, 'option name is "": must not be empty', "name: a name"],
  ])("%j: says %s", (options, what, hint) => {
    const error = errorOf(() => sample(options as unknown as Options));
    expect(error).toMatchObject({ code: "KVFOLD_ARGUMENT", who: "sample", what, hint });
  });

  it.each([[null], [[]], [5], ["size=5"]])("%j is no options object", (options) => {
    expect(errorOf(() => sample(options as unknown as Options)).code).toBe("KVFOLD_ARGUMENT");
  });

  it("must be sayable, so that expressions mean what they say", () => {
    const error = errorOf(() => sample({ flags: [new Map()] } as unknown as Options));
    expect(error.what).toContain("which no expression can say");
  });

  it("need a schema that answers at once", () => {
    const slow: StandardSchemaV1<unknown, { a: number }> = {
      "~standard": { version: 1, vendor: "test", validate: () => Promise.reject(new Error("late")) },
    };
    const options = { schema: slow, info: { a: { default: 1, description: "a" } } };
    const define = defineStrategy({
      name: "slow",
      summary: "",
      options,
      create: () => ({ plan: identityPlan }),
    });
    expect(errorOf(() => define())).toMatchObject({ code: "KVFOLD_ARGUMENT", who: "slow" });
  });
});

describe("definitions", () => {
  it("carry themselves", () => {
    expect(sample.definition).toMatchObject({ kind: "strategy", name: "sample", options: info, signals: [] });
  });

  it.each(["", "a b", "true", "1st", "x>y", "a".repeat(65)])("cannot be named %j", (name) => {
    const define = () => defineStrategy({ name, summary: "", create: () => ({ plan: identityPlan }) });
    expect(errorOf(define).code).toBe("KVFOLD_ARGUMENT");
  });

  it("join the signals of definition, options and inner strategy", () => {
    const inner = defineStrategy({
      name: "inner",
      summary: "",
      signals: ["tokens"],
      scope: "new",
      create: () => ({ plan: identityPlan, appliesTo: (shape) => shape.cells > 1 || "too small" }),
    });
    const outer = defineWrapper({
      name: "outer",
      summary: "",
      create: (_options, strategy) => ({
        signals: ["tokens", "tokenLogProbs"],
        appliesTo: (shape) => shape.cells > 2 || "still too small",
        plan: (view, context) => strategy.plan(view, context),
      }),
    });
    const both = outer(inner());
    expect(both).toMatchObject({
      name: "outer",
      expression: "outer > inner",
      signals: ["tokens", "tokenLogProbs"],
      scope: "new",
    });
    expect([1, 2, 3].map((cells) => both.appliesTo({ layers: [], cells }))).toEqual([
      "too small",
      "still too small",
      true,
    ]);
    expect(errorOf(() => outer(5 as never)).code).toBe("KVFOLD_ARGUMENT");
    expect(errorOf(() => outer(inner as never)).code).toBe("KVFOLD_ARGUMENT");
  });

  it("of scorers nest", () => {
    const one = defineScorer({
      name: "one",
      summary: "",
      create: () => ({ score: () => ({ scope: "shared", data: new Float32Array(1) }) }),
    });
    expect(isScorer(one())).toBe(true);
    expect(isScorer(one)).toBe(false);
    expect(isStrategy(one())).toBe(false);
    expect(isStrategy(sample())).toBe(true);
  });
});
