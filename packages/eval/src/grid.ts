/** A grid of cases and runs: one prefill for each case, a cell for each run on it, finished cells never again. */
import { type MergeStrategy, type SignalName, throwIfAborted } from "@kvfold/core";
import { type CellGroup, cellId, type EvalCell } from "./cells.js";
import type { Results } from "./results.js";

/** A strategy at a ratio. */
export interface GridRun {
  readonly strategy: MergeStrategy;
  readonly ratio: number;
  /** Names all that the strategy does, its defaults included; default: its expression. */
  readonly identity?: string;
}

/** One text that is read once for all runs. */
export interface GridCase {
  /** Number of the window or trial. */
  readonly index: number;
  /** `caseHash` of what is read and asked. */
  readonly hash: string;
  /**
   * Reads the case and measures some of the runs.
   * @param signals captured while the case is read, whichever runs are left
   * @param report takes each result as soon as there is one
   */
  measure(
    runs: readonly GridRun[],
    signals: readonly SignalName[],
    report: (run: GridRun, result: EvalCell["result"]) => void,
  ): Promise<void>;
}

/** What is summed up in one table. */
export interface GridPart {
  readonly group: CellGroup;
  readonly cases: readonly GridCase[];
}

export interface GridOptions {
  readonly parts: readonly GridPart[];
  readonly runs: readonly GridRun[];
  readonly results: Results;
  readonly signal?: AbortSignal;
  readonly onEvent?: (event: GridEvent) => void;
}

/** Cells of the whole grid, those of earlier runs included. */
export interface GridState {
  readonly done: number;
  readonly total: number;
}

/** What happens. Events of a case come only where something is left to do. */
export type GridEvent =
  | ({ readonly type: "case" | "case-done"; readonly group: CellGroup; readonly index: number } & GridState)
  | ({ readonly type: "cell"; readonly cell: EvalCell } & GridState)
  | {
      readonly type: "part";
      readonly group: CellGroup;
      /** By run; each in the order of the cases. */
      readonly cells: readonly (readonly EvalCell[])[];
    };

/**
 * Measures what the results do not hold yet, case after case. The signals of all runs are captured for every case, so
 * that a grid that was interrupted gives what it gives in one go.
 *
 * @throws KvfoldError KVFOLD_ABORTED when cancelled, and what cases and results throw; finished cells are kept
 */
export async function runGrid(options: GridOptions): Promise<void> {
  const { parts, runs, results } = options;
  const signals = [...new Set(runs.flatMap((run) => run.strategy.signals))];
  const plan = parts.map(({ group, cases }) => ({
    group,
    cases: cases.map((one) => ({ one, ids: runs.map((run) => idOf(group, one, run)) })),
  }));
  const ids = new Set(plan.flatMap(({ cases }) => cases.flatMap((each) => each.ids)));
  const state = (): GridState => ({
    done: [...ids].filter((id) => results.cells.has(id)).length,
    total: ids.size,
  });
  for (const { group, cases } of plan) {
    for (const each of cases) await runCase(options, signals, group, each, state);
    const cells = runs.map((_, run) => cases.map((each) => results.cells.get(each.ids[run]!)!));
    options.onEvent?.({ type: "part", group, cells });
  }
}

// ---------------------------------------------------------------------------------------------------------------

function idOf(group: CellGroup, { hash }: GridCase, { strategy, ratio, identity }: GridRun): string {
  const { task, conditions } = group;
  return cellId({ task, conditions, case: hash, strategy: identity ?? strategy.expression, ratio });
}

async function runCase(
  { runs, results, signal, onEvent }: GridOptions,
  signals: readonly SignalName[],
  group: CellGroup,
  { one, ids }: { readonly one: GridCase; readonly ids: readonly string[] },
  state: () => GridState,
): Promise<void> {
  throwIfAborted(signal, "grid");
  const left = runs.filter((_, run) => !results.cells.has(ids[run]!));
  if (left.length === 0) return;
  onEvent?.({ type: "case", group, index: one.index, ...state() });
  await one.measure(left, signals, (run, result) => {
    const cell = makeCell(group, one, run, ids[runs.indexOf(run)]!, result);
    results.add(cell);
    onEvent?.({ type: "cell", cell, ...state() });
  });
  onEvent?.({ type: "case-done", group, index: one.index, ...state() });
}

function makeCell(
  { task, model, tokens, labels, conditions }: CellGroup,
  { index, hash }: GridCase,
  { strategy, ratio }: GridRun,
  id: string,
  result: EvalCell["result"],
): EvalCell {
  return {
    command: "eval-cell",
    task,
    model,
    strategy: strategy.expression,
    ratio,
    tokens,
    labels,
    conditions,
    index,
    case: hash,
    id,
    result,
  } as EvalCell;
}
