/** A view that notices when somebody writes to what it hands out. */
import type { CacheView, KeyFrame } from "@kvfold/core";

type Numbers = Float32Array | Int32Array | Uint32Array | Uint16Array;

/** A view and its witness. */
export interface WatchedView {
  readonly view: CacheView;
  /** Names of the arrays that have changed since they were handed out. */
  written(): string[];
}

/** Wraps a view: the same array is handed out every time, and a copy is kept beside it. */
export function watchView(inner: CacheView): WatchedView {
  const handed = new Map<string, { readonly given: Numbers; readonly copy: Numbers }>();
  const watch = <T extends Numbers | null>(name: string, given: T): T => {
    if (given !== null && !handed.has(name)) handed.set(name, { given, copy: given.slice() });
    return (handed.get(name)?.given ?? null) as T;
  };
  const { queries, repeat } = inner.signals;
  const view: CacheView = {
    ...inner,
    positions: watch("positions", inner.positions),
    counts: watch("counts", inner.counts),
    bias: watch("bias", inner.bias),
    tokens: watch("tokens", inner.tokens),
    signals: {
      tokenLogProbs: watch("tokenLogProbs", inner.signals.tokenLogProbs),
      queries: queries && {
        ...queries,
        positions: watch("query positions", queries.positions),
        layers: queries.layers.map(
          (layer, index) => layer && { ...layer, rows: watch(`queries of layer ${index}`, layer.rows) },
        ),
      },
      repeat: repeat && {
        layers: repeat.layers.map((weights, index) => watch(`repeat attention of layer ${index}`, weights)),
      },
    },
    sources: (layer) => watch(`sources of layer ${layer}`, inner.sources(layer)),
    keys: async (layer: number, frame: KeyFrame) =>
      watch(`${frame} keys of layer ${layer}`, await inner.keys(layer, frame)),
    values: async (layer) => watch(`values of layer ${layer}`, await inner.values(layer)),
  };
  return {
    view,
    written: () =>
      [...handed].flatMap(([name, { given, copy }]) =>
        given.every((value, i) => Object.is(value, copy[i])) ? [] : [name],
      ),
  };
}
