/** Wrappers take a strategy and return one: `pin`, `self-extend`. Made by `defineWrapper`, as strategies by their door. */
import { KvfoldError } from "./errors.js";
import { readOptions, show } from "./options.js";
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
import { isStrategy, type MergeStrategy, type PlanContext, type StrategyParts } from "./strategy.js";
import type { CacheView } from "./view.js";

export interface WrapperDefinition<O extends object> extends CommonDefinition<O> {
  /** Called once for each strategy wrapped. The scope, and what the inner strategy applies to, hold for the outer one. */
  create(options: O, inner: MergeStrategy, dependencies: Dependencies): StrategyParts;
}

/** A definition whose options are no longer known by type: what a registry holds. */
export interface WrapperPlugin {
  readonly definition: PluginInfo;
  /** @throws KvfoldError KVFOLD_UNKNOWN_OPTION, KVFOLD_ARGUMENT, and what the plug-in itself throws */
  make(
    inner: MergeStrategy,
    options?: Readonly<Record<string, unknown>>,
    dependencies?: Partial<Dependencies>,
  ): MergeStrategy;
}

/** Wraps strategies, and carries the definition that it was made from. */
export interface WrapperFactory<O extends object> extends WrapperPlugin {
  (inner: MergeStrategy, options?: Partial<O>, dependencies?: Partial<Dependencies>): MergeStrategy;
}

/**
 * Defines a wrapper. The strategy that it makes has the expression `name(options) > inner`.
 *
 * @example
 * pin(mean(), { sinks: 8 }).expression; // "pin(sinks=8) > mean"
 */
export function defineWrapper<O extends object = Record<never, never>>(
  definition: WrapperDefinition<O>,
): WrapperFactory<O> {
  const info = describePlugin("wrapper", definition);
  const make = (
    inner: MergeStrategy,
    given?: object,
    dependencies?: Partial<Dependencies>,
  ): MergeStrategy => {
    if (!isStrategy(inner)) {
      throw new KvfoldError("KVFOLD_ARGUMENT", `the first argument is ${show(inner)}, not a strategy`, {
        who: info.name,
        hint: `call it as ${info.name}(mean(), options)`,
      });
    }
    const { options, printed } = readOptions(info.name, optionsOf(definition), given, info.positional);
    const parts = definition.create(options, inner, withDefaults(dependencies));
    return Object.freeze({
      name: info.name,
      expression: `${info.name}${printed === "" ? "" : `(${printed})`} > ${inner.expression}`,
      signals: union(union(inner.signals, info.signals), parts.signals ?? []),
      scope: inner.scope,
      appliesTo: (shape: CacheShape) =>
        bothApply(inner.appliesTo(shape), () => parts.appliesTo?.(shape) ?? true),
      plan: (view: CacheView, context: PlanContext) => parts.plan(view, context),
    });
  };
  const factory = (
    inner: MergeStrategy,
    options?: Partial<O>,
    dependencies?: Partial<Dependencies>,
  ): MergeStrategy => make(inner, options, dependencies);
  return Object.assign(factory, { definition: info, make });
}

const bothApply = (inner: true | string, outer: () => true | string): true | string =>
  inner === true ? outer() : inner;
