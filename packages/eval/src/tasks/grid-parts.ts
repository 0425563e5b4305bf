/** The tasks as parts of a grid. */
import type { SignalName } from "@kvfold/core";
import { type CellGroup, caseHash, type FoldFacts, type KlResult, type PasskeyResult } from "../cells.js";
import type { EvalEngine } from "../engine.js";
import type { GridPart, GridRun } from "../grid.js";
import type { FoldCosts } from "./fold-costs.js";
import { type KlEvent, type KlScore, runKl } from "./kl.js";
import type { KlWindow } from "./kl-windows.js";
import { type FoldedAnswer, type PasskeyEvent, runPasskey } from "./passkey.js";
import type { PasskeyCase } from "./passkey-cases.js";

interface PartOptions<Event> {
  readonly group: CellGroup;
  /** Handed to the strategies. */
  readonly seed: number;
  readonly signal?: AbortSignal;
  /** For progress displays; `run` counts the runs that are left. */
  readonly onEvent?: (event: Event, runs: readonly GridRun[]) => void;
}

export interface KlPartOptions extends PartOptions<KlEvent> {
  readonly windows: readonly KlWindow[];
}

/** The divergence task; each window is a case. */
export function klPart<S>(engine: EvalEngine<S>, options: KlPartOptions): GridPart {
  const { group, windows, seed, signal, onEvent } = options;
  const cases = windows.map((window) => ({
    index: window.index,
    hash: caseHash(window.context, window.next),
    measure: async (
      runs: readonly GridRun[],
      signals: readonly SignalName[],
      report: (run: GridRun, result: KlResult) => void,
    ): Promise<void> => {
      await runKl(engine, {
        window,
        runs,
        signals,
        seed,
        ...(signal === undefined ? {} : { signal }),
        onEvent: (event) => {
          onEvent?.(event, runs);
          if (event.type === "score") report(runs[event.run]!, klResult(event.score));
        },
      });
    },
  }));
  return { group, cases };
}

export interface PasskeyPartOptions extends PartOptions<PasskeyEvent> {
  readonly cases: readonly PasskeyCase[];
  /** Each run reads the prompt itself and folds after every so many tokens. */
  readonly foldEvery?: number;
}

/** The passkey task; each trial is a case. */
export function passkeyPart<S>(engine: EvalEngine<S>, options: PasskeyPartOptions): GridPart {
  const { group, seed, signal, foldEvery, onEvent } = options;
  const cases = options.cases.map((one) => ({
    index: one.index,
    hash: caseHash(one.prompt, one.question),
    measure: async (
      runs: readonly GridRun[],
      signals: readonly SignalName[],
      report: (run: GridRun, result: PasskeyResult) => void,
    ): Promise<void> => {
      let full = false;
      await runPasskey(engine, {
        cases: [one],
        runs,
        signals,
        speeds: false,
        seed,
        ...(signal === undefined ? {} : { signal }),
        ...(foldEvery === undefined ? {} : { foldEvery }),
        onEvent: (event) => {
          onEvent?.(event, runs);
          if (event.type !== "answer") return;
          if (event.run === null) full = event.answer.right;
          else report(runs[event.run]!, passkeyResult(one, full, event.answer));
        },
      });
    },
  }));
  return { group, cases };
}

// ---------------------------------------------------------------------------------------------------------------

const DIGITS_OF_KL = 4;

function klResult(score: KlScore): KlResult {
  return {
    meanKl: score.meanKl,
    top1: score.top1,
    fullNll: score.fullNll,
    foldedNll: score.foldedNll,
    ...factsOf(score),
    kl: score.kl.map((value) => Number(value.toPrecision(DIGITS_OF_KL))),
  };
}

function passkeyResult(one: PasskeyCase, full: boolean, answer: FoldedAnswer): PasskeyResult {
  return {
    depth: Number(one.depth.toFixed(1)),
    key: one.key,
    full,
    folded: answer.right,
    answer: answer.text,
    ...factsOf(answer),
  };
}

function factsOf(costs: FoldCosts & Pick<FoldFacts, "cellsBefore" | "cellsAfter">): FoldFacts {
  const { cellsBefore, cellsAfter, bytesFreed, planMs, foldMs, fits, note } = costs;
  const round = (value: number, digits: number): number => Number(value.toFixed(digits));
  // relative errors of an output that is 0 have no number that JSON could hold
  const measured = fits !== null && Number.isFinite(fits.before + fits.after) ? fits : null;
  return {
    cellsBefore,
    cellsAfter,
    bytesFreed,
    planMs: round(planMs, 2),
    foldMs: round(foldMs, 2),
    fits: measured && { ...measured, before: round(measured.before, 4), after: round(measured.after, 4) },
    note,
  };
}
