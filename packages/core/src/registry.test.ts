/** Who is registered, and who was meant. */
import { expect, it } from "vitest";
import { identityPlan } from "./plan/keep.js";
import { createRegistry, isPlugin, type Plugin } from "./registry.js";
import { defineScorer } from "./scorer.js";
import { defineStrategy } from "./strategy.js";
import { defineWrapper } from "./wrapper.js";

const strategy = (name: string) =>
  defineStrategy({ name, summary: name, create: () => ({ plan: identityPlan }) });
const scorer = (name: string) =>
  defineScorer({
    name,
    summary: name,
    create: () => ({ score: (view) => ({ scope: "shared", data: new Float32Array(view.shape.cells) }) }),
  });
const wrapper = (name: string) =>
  defineWrapper({
    name,
    summary: name,
    create: (_options, inner) => ({ plan: (view, context) => inner.plan(view, context) }),
  });

it("finds by name and alias, each kind by itself", () => {
  const registry = createRegistry([strategy("mean"), scorer("max"), wrapper("pin")]);
  const max = strategy("max");
  registry.add(max, ["maximum"]);
  expect(registry.strategy("max")).toBe(max);
  expect(registry.strategy("maximum")).toBe(max);
  expect(registry.scorer("max")).not.toBe(max);
  expect(registry.list().map(({ kind, name, aliases }) => [kind, name, ...aliases])).toEqual([
    ["strategy", "max", "maximum"],
    ["strategy", "mean"],
    ["wrapper", "pin"],
    ["scorer", "max"],
  ]);
});

it("suggests the nearest name, or says that the name is of another kind", () => {
  const registry = createRegistry([strategy("mean"), strategy("sum"), scorer("keydiff"), wrapper("pin")]);
  expect(() => registry.strategy("maen")).toThrow(
    /\[registry\] there is no strategy "maen"; did you mean mean\?/,
  );
  expect(() => registry.strategy("zzzzzz")).toThrow(/there are: mean, sum/);
  expect(() => registry.strategy("keydiff")).toThrow(/keydiff is a scorer; .*by=/);
  expect(() => registry.scorer("pin")).toThrow(/pin is a wrapper/);
  expect(() => registry.strategy("constructor")).toThrow(
    expect.objectContaining({ code: "KVFOLD_UNKNOWN_STRATEGY" }),
  );
});

it("refuses names that are taken, and leaves nothing behind", () => {
  const registry = createRegistry([strategy("mean")]);
  expect(() => registry.add(strategy("mean"))).toThrow(/already a strategy "mean"/);
  expect(() => registry.add(strategy("average"), ["avg", "mean"])).toThrow(/already a strategy "mean"/);
  expect(() => registry.add(strategy("twice"), ["twice"])).toThrow(/already a strategy "twice"/);
  expect(registry.list().map(({ name }) => name)).toEqual(["mean"]);
  expect(() => registry.strategy("avg")).toThrow(/there is no strategy/);
});

it("takes plug-ins only", () => {
  const registry = createRegistry();
  for (const wrong of [null, 5, {}, () => 1, strategy("a")()]) {
    expect(isPlugin(wrong)).toBe(false);
    expect(() => registry.add(wrong as unknown as Plugin)).toThrow(/is no plug-in/);
  }
});
