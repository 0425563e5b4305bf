/**
 * Keeps the cells with the highest scores, besides the sinks at the start and the newest cells, and drops the others.
 *
 *     cells            a b c d e f g h      sinks=1, recent=2, target 5
 *     scores             2 9 1 5 8
 *     per=shared       a   c     f g h      the same cells in every head, at their true positions
 *
 *     per=head         head 0   a c f g h   every (layer, KV head) keeps its own: composite cells
 *                      head 1   a b e g h
 *
 * `per=head` keeps much more of what each head looks for, at the same size. Its cells hold other tokens in every head,
 * so it needs cells of one token without bias. `per=shared` takes the union of the heads: scores become ranks in [0, 1]
 * within each head, and a cell gets its largest rank. Of equal scores the older cell stays.
 *
 * A cell is worth what the best cell within `neighbours` is worth (max-pooling, as SnapKV does over 5 cells, arXiv
 * 2404.14469): a name or number of several tokens is kept whole, or not at all. 0 takes the scores as they are.
 *
 * Sinks and newest cells are pinned `exact` and count towards the target (arXiv 2309.17453), and so does any pin of
 * a wrapper. The newest cell always stays, as decoding goes on behind it. Only cells of the range compete.
 */
import {
  type CacheView,
  defineStrategy,
  identityPlan,
  KvfoldError,
  keepPlan,
  type MergePlan,
  PIN_LEVEL,
  type PlanContext,
  type Scorer,
  type StrategyFactory,
} from "@kvfold/core";
import * as v from "valibot";
import { createBreather } from "./parts/breathe.js";
import { composeHeads } from "./parts/heads.js";
import { isFree, needRoom, raisePins } from "./parts/pins.js";
import { scorer, wholeNumber } from "./parts/schemas.js";
import { bestCells, type HeadScores, pooled, ranks, scoresByHead } from "./parts/scores.js";
import { keydiff } from "./scorers/keydiff.js";

export interface EvictOptions {
  /** What a cell is worth. */
  readonly by: Scorer;
  /** Whether every KV head of every layer keeps its own cells. */
  readonly per: "head" | "shared";
  /** Cells kept at the start of the cache. */
  readonly sinks: number;
  /** Cells kept at the end of the cache. */
  readonly recent: number;
  /** Distance, in cells, within which a cell takes over the best score. */
  readonly neighbours: number;
}

export const evict: StrategyFactory<EvictOptions> = defineStrategy({
  name: "evict",
  summary: "Keeps the cells with the highest scores, the sinks and the newest cells.",
  options: {
    schema: v.strictObject({
      by: scorer,
      per: v.picklist(["head", "shared"], "expected head or shared"),
      sinks: wholeNumber,
      recent: wholeNumber,
      neighbours: wholeNumber,
    }),
    info: {
      by: { default: keydiff(), description: "the scorer", kind: "scorer", always: true },
      per: { default: "head", description: "head or shared: who chooses cells", always: true },
      sinks: { default: 4, description: "kept at the start of the cache", unit: "cells" },
      recent: { default: 128, description: "kept at the end of the cache", unit: "cells" },
      neighbours: {
        default: 2,
        description: "a cell is worth what the best this near is worth",
        unit: "cells",
      },
    },
  },
  create: ({ by, per, sinks, recent, neighbours }) => ({
    signals: by.signals,
    appliesTo: (shape) => {
      const windowed = shape.layers.find((layer) => layer.window !== null);
      if (per === "head" && windowed !== undefined) {
        return `layer ${windowed.layer} has a sliding window, which needs true positions; use per=shared`;
      }
      return by.appliesTo(shape);
    },
    plan: async (view, context) => {
      if (context.target >= view.shape.cells) return identityPlan(view);
      const pins = raisePins(view, context.pins, { sinks, recent, level: PIN_LEVEL.exact });
      const free = freeCells(view, context, pins);
      if (free.length === 0) return identityPlan(view);
      const staying = view.shape.cells - free.length;
      needRoom(view, context, staying, { who: "evict", scope: "all" });
      if (per === "head") needPlainCells(view);
      const scores = pooled(scoresByHead(by, await by.score(view, context), view.shape), neighbours);
      const choice: Choice = { view, context, pins, free, count: context.target - staying, scores };
      return per === "head" ? evictByHead(choice) : evictShared(choice);
    },
  }),
});

// ---------------------------------------------------------------------------------------------------------------

interface Choice {
  readonly view: CacheView;
  readonly context: PlanContext;
  readonly pins: Uint8Array;
  /** Cells that compete, in rising order. */
  readonly free: Uint32Array;
  /** How many of them stay. */
  readonly count: number;
  readonly scores: HeadScores;
}

/** The newest cell is not free even without pins: the next token follows its position. */
function freeCells(view: CacheView, context: PlanContext, pins: Uint8Array): Uint32Array {
  const last = view.shape.cells - 1;
  return Uint32Array.from(pins.keys()).filter((cell) => cell !== last && isFree(context, pins, cell));
}

function needPlainCells({ counts, bias }: CacheView): void {
  const merged = counts.findIndex((count) => count !== 1);
  const biased = bias?.findIndex((value) => value !== 0) ?? -1;
  if (merged < 0 && biased < 0) return;
  const what =
    merged >= 0
      ? `cell ${merged} holds ${counts[merged]} tokens`
      : `cell ${biased} has bias ${bias?.[biased]}`;
  throw new KvfoldError("KVFOLD_NOT_APPLICABLE", `${what}, which heads that keep other cells cannot share`, {
    who: "evict",
    hint: "use per=shared",
  });
}

async function evictByHead({ view, context, pins, free, count, scores }: Choice): Promise<MergePlan> {
  const breathe = createBreather(context, "evict");
  const chosen: Uint32Array[][] = [];
  for (const [layer, { kvHeads }] of view.shape.layers.entries()) {
    const heads: Uint32Array[] = [];
    for (let head = 0; head < kvHeads; head++) {
      await breathe();
      heads.push(bestCells(scores(layer, head), free, count));
    }
    chosen.push(heads);
  }
  return composeHeads(view, free, chosen, pins);
}

async function evictShared({ view, context, pins, free, count, scores }: Choice): Promise<MergePlan> {
  const breathe = createBreather(context, "evict");
  const best = new Float32Array(view.shape.cells);
  let last: Float32Array | null = null;
  for (const [layer, { kvHeads }] of view.shape.layers.entries()) {
    for (let head = 0; head < kvHeads; head++) {
      await breathe();
      const own = scores(layer, head);
      // scores that all heads share come as one array: ranked once
      if (own === last) continue;
      last = own;
      ranks(own, free).forEach((rank, cell) => {
        if (rank > best[cell]!) best[cell] = rank;
      });
    }
  }
  const dropped = new Set(free);
  for (const cell of bestCells(best, free, count)) dropped.delete(cell);
  const kept = Uint32Array.from(pins.keys()).filter((cell) => !dropped.has(cell));
  return keepPlan(view, kept, { positions: "true", pins });
}
