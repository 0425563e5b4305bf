/**
 * Merges neighbouring tokens that are on a list of pairs: llama.cpp PR 5719 discusses it as "predefined n-grams".
 *
 *     The key of the safe      list: [" of"," the"]      ->   The key [of the] safe
 *
 * A pair becomes the mean of its cells, weighted by the tokens inside them, with the bias ln(tokens), at the position of
 * the later token; keys are averaged as they lie. No cell is merged twice, so nothing grows beyond a pair. Pairs that
 * stand earlier on the list are merged first, equal ones from left to right, until the target is reached. A list can
 * seldom halve a cache: where it ends short of the target, the plan is larger than asked for.
 */
import {
  type CacheView,
  defineStrategy,
  identityPlan,
  KvfoldError,
  PIN_LEVEL,
  type PlanContext,
  type StrategyFactory,
} from "@kvfold/core";
import * as v from "valibot";
import { BUILT_IN_LIST, type PairRanks, readPairs } from "./ngram/list.js";
import type { CellGroup } from "./parts/grouper.js";
import { mergeGroups } from "./parts/merge.js";
import { countMeanWeigher } from "./parts/weigher.js";

export interface NgramPairsOptions {
  /** `english`, or the path of a JSON file (see `ngram/list.ts`). */
  readonly list: string;
}

export const ngramPairs: StrategyFactory<NgramPairsOptions> = defineStrategy({
  name: "ngram-pairs",
  summary: "Merges neighbouring tokens that are on a list of pairs.",
  source: "llama.cpp PR 5719",
  options: {
    schema: v.strictObject({ list: v.pipe(v.string("expected a path"), v.minLength(1, "expected a path")) }),
    info: { list: { default: BUILT_IN_LIST, description: "english, or the path of a JSON list of pairs" } },
  },
  signals: ["tokens"],
  scope: "new",
  create: ({ list }, dependencies) => {
    const ranks = readPairs(list, dependencies);
    return {
      plan: (view, context) => {
        const tooMany = view.shape.cells - context.target;
        if (tooMany <= 0) return identityPlan(view);
        const groups = choosePairs(listedPairs(view, context, ranks), tooMany, view);
        if (groups.length < tooMany) {
          context.log.warn(
            `ngram-pairs: the list merges ${groups.length} pairs here, ${tooMany} were needed`,
          );
        }
        return mergeGroups(view, context, groups, {
          name: "ngram-pairs",
          weigher: countMeanWeigher,
          keyFrame: "stored",
          bias: logCount,
        });
      },
    };
  },
});

// ---------------------------------------------------------------------------------------------------------------

interface ListedPair {
  /** The earlier cell; the later one follows it. */
  readonly cell: number;
  readonly rank: number;
}

function listedPairs(view: CacheView, { range, pins }: PlanContext, ranks: PairRanks): ListedPair[] {
  const { tokens } = view;
  const { tokenText } = view;
  if (tokens === null || tokenText === undefined) {
    throw new KvfoldError("KVFOLD_SIGNAL_MISSING", "the texts of the tokens are not known", {
      who: "ngram-pairs",
      hint: "feed the prompt as token ids, to an engine that has a vocabulary",
    });
  }
  const text = remember(tokenText);
  const level = (cell: number): number => pins?.[cell] ?? PIN_LEVEL.none;
  const found: ListedPair[] = [];
  for (let cell = range.from; cell + 1 < range.to; cell++) {
    const [first, second] = [tokens[cell]!, tokens[cell + 1]!];
    const neighbours = first >= 0 && second >= 0 && view.positions[cell + 1]! - view.positions[cell]! === 1;
    // one of the two may take the other in
    if (!neighbours || level(cell) + level(cell + 1) > PIN_LEVEL.absorb) continue;
    const rank = ranks(text(first), text(second));
    if (rank !== undefined) found.push({ cell, rank });
  }
  return found;
}

function remember(tokenText: (token: number) => string): (token: number) => string {
  const known = new Map<number, string>();
  return (token) => {
    const text = known.get(token) ?? tokenText(token);
    known.set(token, text);
    return text;
  };
}

/** The best `count` pairs that share no cell. */
function choosePairs(pairs: readonly ListedPair[], count: number, view: CacheView): CellGroup[] {
  const used = new Set<number>();
  const groups: CellGroup[] = [];
  for (const { cell } of [...pairs].sort((a, b) => a.rank - b.rank || a.cell - b.cell)) {
    if (groups.length === count) break;
    if (used.has(cell) || used.has(cell + 1)) continue;
    used.add(cell).add(cell + 1);
    groups.push({ members: [cell, cell + 1], position: view.positions[cell + 1]! });
  }
  return groups;
}

function logCount(members: readonly number[], view: CacheView): number {
  return Math.log(members.reduce((sum, cell) => sum + view.counts[cell]!, 0));
}
