/**
 * Every KV head keeps what stands out and what it attends to, and the values of what stays are solved anew, so that
 * attention over the folded cache gives what attention over the whole cache gave.
 *
 *     cells              s s a b c d e f g h i j r r      sinks s, newest r
 *     all heads pin            b                          new to any head, or a surprise         as they are
 *     head 0 keeps               c       g                future queries pay attention           values fitted
 *     head 0 pins                  d                      of the others: its key stands out      hardly fitted
 *     head 0             s s   b c d     g         r r    sinks and newest                       values fitted
 *
 * Fitted: V' = argmin |A V' - O|^2 + ridge |V' - V|^2 over the kept cells A and the outputs O of the whole cache, for
 * the prompt's own queries turned to positions after the context, per layer and KV head; a fit that does not lower the
 * error on held-out queries is dropped (GRKV, arXiv 2605.31105; Attention Matching, arXiv 2602.16284). Attention is the
 * geometric mean of its mean and its root mean square over these queries. What stands out (KeyDiff,
 * arXiv 2504.15364) is held by `pinRidge` times the ridge, because nobody asked for it yet: an ordinary fit would write
 * over what no sampled query needs.
 *
 * With `queries=repeat` a second reading of the context decides instead of future queries (KVzip, arXiv 2505.23416), and
 * of the pins of all heads too; values are still fitted on future queries.
 *
 * Cells hold other tokens in every head, so they need one token each and no bias. Sinks, newest cells and pins of a
 * wrapper count towards the target. Only cells of the range compete, and only their values change.
 */
import {
  type CacheView,
  compositePlan,
  defineStrategy,
  type FitRequest,
  identityPlan,
  type MergePlan,
  PIN_LEVEL,
  type PlanContext,
  type StrategyFactory,
} from "@kvfold/core";
import { fairHoldout, freeRows } from "./parts/fit-request.js";
import { futureAttention, meanAndRootMeanSquare } from "./parts/future-attention.js";
import { headMembers } from "./parts/heads.js";
import { needRepeat } from "./parts/need-repeat.js";
import { mostRepeated, novelty } from "./parts/novelty.js";
import { freeCells, needRoom, raisePins } from "./parts/pins.js";
import { allowsHeads, needPlainCells } from "./parts/plain-cells.js";
import {
  type CellChoice,
  type CellCounts,
  type CellScores,
  chooseCells,
  splitRoom,
} from "./parts/refit-cells.js";
import { pinShares, type RefitOptions, refitOptions } from "./parts/refit-options.js";
import { groupsOf, needQueries, queryRows } from "./parts/samples.js";
import { type HeadScores, pooled, scoresByHead } from "./parts/scores.js";
import { frms } from "./scorers/frms.js";
import { keydiff } from "./scorers/keydiff.js";
import { repeat } from "./scorers/repeat.js";
import { surpriseOf } from "./scorers/surprise.js";

export const refit: StrategyFactory<RefitOptions> = defineStrategy<RefitOptions>({
  name: "refit",
  summary: "Every head keeps what stands out and what it attends to; the values are solved anew.",
  source: "arXiv 2605.31105",
  options: refitOptions,
  create: (options) => ({
    signals: signalsOf(options),
    appliesTo: (shape) => allowsHeads(shape, "evict(per=shared)"),
    plan: async (view, context) => {
      const { cells } = view.shape;
      if (context.target >= cells) return identityPlan(view);
      const pins = windowPins(view, context, options);
      const free = freeCells(view, context, pins);
      if (free.length === 0) return identityPlan(view);
      const staying = cells - free.length;
      needRoom(view, context, staying, { who: "refit", scope: "all" });
      needPlainCells(view, { who: "refit", hint: "use evict(per=shared)" });
      needSignals(view, options);
      const counts = splitRoom(context.target - staying, pinShares(options));
      const scores = await readScores(view, context, { options, counts, free });
      const choice = await chooseCells(view, context, free, { counts, scores, who: "refit" });
      return planOf(view, context, { options, pins, choice, worth: scores.worth });
    },
  }),
});

// ---------------------------------------------------------------------------------------------------------------

const signalsOf = (options: RefitOptions): ("queries" | "repeat" | "tokenLogProbs")[] =>
  options.queries === "repeat"
    ? ["repeat", ...(options.fit ? (["queries"] as const) : [])]
    : ["queries", ...(pinShares(options).shared > 0 ? (["tokenLogProbs"] as const) : [])];

/** Before any work is done; the surprise is asked for where it is read, because a share may round to no pin. */
function needSignals(view: CacheView, { queries, fit }: RefitOptions): void {
  if (queries === "repeat") needRepeat(view, "refit");
  if (queries === "future" || fit) needQueries(view, "refit");
}

/** Sinks and newest cells, at least one, keep their key; where their values are not fitted, these too. */
function windowPins(view: CacheView, context: PlanContext, options: RefitOptions): Uint8Array {
  const { sinks, recent, fit, fitWindow } = options;
  const level = fit && fitWindow ? PIN_LEVEL.key : PIN_LEVEL.exact;
  return raisePins(view, context.pins, { sinks, recent: Math.max(1, recent), level });
}

interface Asked {
  readonly options: RefitOptions;
  readonly counts: CellCounts;
  readonly free: Uint32Array;
}

/** Reads no more than the counts ask for. */
async function readScores(view: CacheView, context: PlanContext, asked: Asked): Promise<CellScores> {
  const { options, counts, free } = asked;
  const { horizon, maxRows, fitRows, neighbours } = options;
  const { shape } = view;
  const again = options.queries === "repeat";
  const chooser = again ? repeat() : frms({ horizon, maxRows });
  const attention = { who: "refit", horizon, maxRows, ...(options.fit ? { fitRows } : {}) };
  const seen = again
    ? chooser.score(view, context)
    : futureAttention(view, context, attention, meanAndRootMeanSquare);
  const worth = scoresByHead(chooser, await seen, shape);
  const needsKeys = counts.head > 0 || (counts.shared > 0 && !again);
  const differs = keydiff();
  const keys = needsKeys ? scoresByHead(differs, await differs.score(view, context), shape) : null;
  return {
    shared: counts.shared === 0 ? null : await sharedScores(view, context, free, { worth, keys, again }),
    head: counts.head === 0 || keys === null ? null : pooled(keys, neighbours),
    worth,
  };
}

async function sharedScores(
  view: CacheView,
  context: PlanContext,
  free: Uint32Array,
  { worth, keys, again }: { worth: HeadScores; keys: HeadScores | null; again: boolean },
): Promise<Float32Array> {
  if (again || keys === null) return mostRepeated(view, context, worth);
  const surprise = surpriseOf(view, "refit");
  return novelty(view, context, free, { keydiff: keys, surprise, who: "refit" });
}

interface Chosen {
  readonly options: RefitOptions;
  readonly pins: Uint8Array;
  readonly choice: CellChoice;
  readonly worth: HeadScores;
}

function planOf(view: CacheView, context: PlanContext, chosen: Chosen): MergePlan {
  const { choice, options } = chosen;
  const members = headMembers(view, choice.free, choice.chosen);
  const fit = options.fit ? fitOf(view, context, { ...chosen, members }) : null;
  const pins = chosen.pins.slice();
  for (const cell of choice.shared) pins[cell] = PIN_LEVEL.exact;
  return compositePlan(view, members, { pins, fit });
}

/** Null where the sample is too small to solve for a single row, or nothing may change. */
function fitOf(
  view: CacheView,
  { range, log }: PlanContext,
  { options, pins, choice, worth, members }: Chosen & { readonly members: Uint32Array },
): FitRequest | null {
  const sample = needQueries(view, "refit");
  const groups = groupsOf(view, sample);
  const { lambda, horizon } = options;
  const maxRows = Math.min(options.fitRows, options.maxRows);
  const holdout = fairHoldout(options.holdout, groups);
  const window = windowCells(view, pins, range, options);
  const free = freeRows(view.shape, {
    members,
    everywhere: window,
    own: choice.chosen,
    stiff: choice.standing,
    stiffness: options.pinRidge,
    worth,
    queryRows: groups.map((group) => queryRows(sample, group, maxRows, "refit")),
    holdout,
  });
  if (free === null) {
    log.warn(
      "refit: values stay as they are: the sample of queries is too small to fit them on, or none may change",
    );
    return null;
  }
  return { method: "ridge", lambda, free, queries: sample.hash, horizon, maxRows, holdout };
}

/** Sinks and newest cells of the range, but for those that somebody else pinned `exact`. */
function windowCells(
  { shape: { cells } }: CacheView,
  pins: Uint8Array,
  { from, to }: PlanContext["range"],
  { sinks, recent, fitWindow }: RefitOptions,
): Uint32Array {
  const oldest = cells - Math.max(1, recent);
  const inWindow = (cell: number): boolean => cell < sinks || cell >= oldest;
  return Uint32Array.from(pins.keys()).filter(
    (cell) => fitWindow && inWindow(cell) && cell >= from && cell < to && pins[cell]! < PIN_LEVEL.exact,
  );
}
