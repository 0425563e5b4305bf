/** Ridge refit of the values of one KV head, so that the cells that stay answer as all cells did. Reference, in double. */
import { buildSystem, solve, splitRows } from "./fit-system.js";
import { checkScores, type Floats, type HeadScores, lengthIs, magnitudeIs, refuse, rowsOf } from "./head.js";

/** The normal equations over the free cells, or over the query rows; `none`: there was nothing to solve. */
export type FitForm = "primal" | "dual" | "none";

/** What `fitHead` takes. Keys, bias and values are those of the cells that stay. */
export interface FitInput extends HeadScores {
  /** Channels of a value. */
  readonly valueDim: number;
  /** Values of the cells that stay; where the ridge pulls to. [kept, valueDim] */
  readonly values: Floats;
  /** What attention over all cells gave for the same queries (`attendHead`). [rows, valueDim] */
  readonly targets: Floats;
  /** Cells whose values may change, ascending; all others are read-only. [free] */
  readonly free: Uint32Array;
  /** How many times the ridge holds each free cell, 1 to 255. [free]; default: 1 each. Not in the dual form. */
  readonly ridgeFactors?: Uint8Array;
  /** Ridge as a share of the mean of the diagonal of A^T A; at least 0. Useful: 0.001 to 0.1. */
  readonly lambda: number;
  /**
   * Every holdout-th query row judges the fit and takes no part in it: 2 or more, and without a common divisor with the
   * number of query heads in the group (else only some of the heads judge). 0: nobody judges, the fitted rows decide.
   */
  readonly holdout: number;
  /** Default: the smaller system, with ridge factors the primal one. Both give the same values. */
  readonly form?: "primal" | "dual";
}

/** Sums of squares over some query rows. */
export interface FitError {
  readonly rows: number;
  /** |O|^2. */
  readonly target: number;
  /** |O - A V|^2 with the values as they were. */
  readonly before: number;
  /** |O - A V'|^2 with the fitted values, accepted or not. */
  readonly after: number;
}

/** Fitted values and how good they are. */
export interface FitResult {
  /** New values, or the old ones when not accepted; read-only rows always as they were. [kept, valueDim] */
  readonly values: Float64Array;
  /** True when the error on the judging rows fell. */
  readonly accepted: boolean;
  readonly form: FitForm;
  /** lambda times the mean of the diagonal of A^T A: the ridge that was added. */
  readonly ridge: number;
  /** Pivots that were raised to the floor of `choleskyFactor`. */
  readonly guarded: number;
  readonly fitted: FitError;
  readonly judged: FitError;
}

/**
 * With A = softmax(Q K^T + b) over all cells that stay and O the outputs of the full cache:
 *
 *     V'_free = V_free + argmin_X |A_free X - (O - A V)|^2 + ridge sum_f n_f |X_f|^2
 *     ridge = lambda mean diag(A_free^T A_free), n_f = ridgeFactors or 1
 *
 * so read-only cells are taken off the target exactly as they answer. Primal: (A^T A + ridge N) X = A^T E. Dual, when
 * there are fewer rows than free cells and no factors: X = A^T (A A^T + ridge)^-1 E. The answer is the same in every
 * orthogonal basis of the channels: values that a Hadamard matrix rotates need nothing, as long as the targets are in
 * the same basis.
 *
 * Source: ridge regression of values (GRKV, arXiv 2605.31105) with read-only cells and held-out acceptance.
 *
 * @throws KvfoldError KVFOLD_ARGUMENT: sizes that do not fit, numbers that are not finite
 */
export function fitHead(input: FitInput): FitResult {
  const { rows, kept } = checkFit(input);
  const split = splitRows(rows, input.holdout);
  const system = buildSystem(input, split, kept);
  const before = system.missing.slice();
  const { form, ridge, guarded, delta } = solve(input, system, split.fitting);
  const fitted = errorOf(input, split.order.subarray(0, split.fitting), 0, before, system.missing);
  const judged = errorOf(input, split.order.subarray(split.fitting), split.fitting, before, system.missing);
  const judge = input.holdout === 0 ? fitted : judged;
  const accepted = form !== "none" && judge.after < judge.before;
  const values = Float64Array.from(input.values);
  if (accepted) {
    input.free.forEach((cell, f) => {
      for (let i = 0; i < input.valueDim; i++) {
        const at = cell * input.valueDim + i;
        values[at] = values[at]! + delta[f * input.valueDim + i]!;
      }
    });
  }
  return { values, accepted, form, ridge, guarded, fitted, judged };
}

/** Bytes that `fitHead` needs besides its input, for callers that keep a limit. */
export function fitHeadBytes(rows: number, kept: number, free: number, valueDim: number): number {
  const square = Math.min(rows, free) ** 2;
  const missing = 3 * rows * valueDim;
  const values = (free + kept) * valueDim;
  return 8 * (rows * free + square + missing + values + kept + 2 * rows);
}

function checkFit(input: FitInput): { rows: number; kept: number } {
  const who = "fit";
  const { rows, cells: kept } = checkScores(who, input);
  if (rowsOf(who, "values", input.values, input.valueDim) !== kept) {
    refuse(who, `values has ${input.values.length} numbers instead of ${kept * input.valueDim}`);
  }
  lengthIs(who, "targets", input.targets, rows * input.valueDim);
  magnitudeIs(who, "values", input.values);
  magnitudeIs(who, "targets", input.targets);
  input.free.forEach((cell, index) => {
    if (cell >= kept) refuse(who, `free cell ${cell} of ${kept}`);
    if (index > 0 && cell <= input.free[index - 1]!)
      refuse(
        who,
        `free cell ${cell} follows ${input.free[index - 1]}`,
        "give free cells in ascending order, each once",
      );
  });
  checkFactors(input);
  if (!(input.lambda >= 0 && input.lambda <= 1e6))
    refuse(who, `lambda is ${input.lambda}`, "0.01 is a good ridge");
  if (!Number.isSafeInteger(input.holdout) || input.holdout < 0 || input.holdout === 1) {
    refuse(who, `holdout is ${input.holdout}`, "every holdout-th row judges: 2 or more, or 0 for none");
  }
  return { rows, kept };
}

function checkFactors({ ridgeFactors: factors, free, form }: FitInput): void {
  if (factors === undefined) return;
  if (factors.length !== free.length) {
    refuse("fit", `ridgeFactors has ${factors.length} numbers for ${free.length} free cells`);
  }
  if (factors.includes(0)) refuse("fit", "a ridge factor is 0", "factors are 1 to 255");
  if (form === "dual") refuse("fit", "the dual form has one ridge for all cells", "leave ridgeFactors out");
}

/** @param queries the rows to count, which lie in `before` and `after` from slot `from` on */
function errorOf(
  input: FitInput,
  queries: Uint32Array,
  from: number,
  before: Float64Array,
  after: Float64Array,
): FitError {
  const { valueDim, targets } = input;
  const sums = { target: 0, before: 0, after: 0 };
  queries.forEach((query, index) => {
    for (let i = 0; i < valueDim; i++) {
      const at = (from + index) * valueDim + i;
      sums.target += targets[query * valueDim + i]! ** 2;
      sums.before += before[at]! ** 2;
      sums.after += after[at]! ** 2;
    }
  });
  return { rows: queries.length, ...sums };
}
