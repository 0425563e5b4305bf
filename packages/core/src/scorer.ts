/** Scorers give every cell a number; the higher, the more it is worth keeping. */
import { readOptions } from "./options.js";
import {
  type CommonDefinition,
  type Dependencies,
  describePlugin,
  optionsOf,
  type PluginInfo,
  union,
  withDefaults,
} from "./plugin.js";
import type { CacheShape } from "./shape.js";
import type { Maybe, PlanContext } from "./strategy.js";
import type { CacheView, SignalName } from "./view.js";

/** Scores of all cells: `shared` [cells], or `head` with one array [kvHeads, cells] for each layer. */
export type Scores =
  | { readonly scope: "shared"; readonly data: Float32Array }
  | { readonly scope: "head"; readonly layers: readonly Float32Array[] };

export interface Scorer {
  readonly name: string;
  readonly expression: string;
  readonly signals: readonly SignalName[];
  appliesTo(shape: CacheShape): true | string;
  score(view: CacheView, context: PlanContext): Maybe<Scores>;
}

/** What `create` gives back; what is left out comes from the definition. */
export interface ScorerParts {
  score(view: CacheView, context: PlanContext): Maybe<Scores>;
  /** Default: every cache. */
  appliesTo?(shape: CacheShape): true | string;
  /** Signals that these options need, besides those of the definition. */
  readonly signals?: readonly SignalName[];
}

export interface ScorerDefinition<O extends object> extends CommonDefinition<O> {
  create(options: O, dependencies: Dependencies): ScorerParts;
}

/** A definition whose options are no longer known by type: what a registry holds. */
export interface ScorerPlugin {
  readonly definition: PluginInfo;
  /** @throws KvfoldError KVFOLD_UNKNOWN_OPTION, KVFOLD_ARGUMENT, and what the plug-in itself throws */
  make(options?: Readonly<Record<string, unknown>>, dependencies?: Partial<Dependencies>): Scorer;
}

/** Makes scorers, and carries the definition that it was made from. */
export interface ScorerFactory<O extends object> extends ScorerPlugin {
  (options?: Partial<O>, dependencies?: Partial<Dependencies>): Scorer;
}

/** Defines a scorer. Higher means more worth keeping; NaN counts as lowest. */
export function defineScorer<O extends object = Record<never, never>>(
  definition: ScorerDefinition<O>,
): ScorerFactory<O> {
  const info = describePlugin("scorer", definition);
  const make = (given?: object, dependencies?: Partial<Dependencies>): Scorer => {
    const { options, printed } = readOptions(info.name, optionsOf(definition), given, info.positional);
    const parts = definition.create(options, withDefaults(dependencies));
    return Object.freeze({
      name: info.name,
      expression: printed === "" ? info.name : `${info.name}(${printed})`,
      signals: union(info.signals, parts.signals ?? []),
      appliesTo: (shape: CacheShape) => parts.appliesTo?.(shape) ?? true,
      score: (view: CacheView, context: PlanContext) => parts.score(view, context),
    });
  };
  return Object.assign(
    (options?: Partial<O>, dependencies?: Partial<Dependencies>) => make(options, dependencies),
    {
      definition: info,
      make,
    },
  );
}

/** True for anything with the members of a scorer, whichever copy of this package made it. */
export function isScorer(value: unknown): value is Scorer {
  const scorer = value as Partial<Scorer> | null | undefined;
  if (typeof scorer !== "object" || scorer === null) return false;
  const named = typeof scorer.name === "string" && typeof scorer.expression === "string";
  return (
    named &&
    Array.isArray(scorer.signals) &&
    typeof scorer.appliesTo === "function" &&
    typeof scorer.score === "function"
  );
}
