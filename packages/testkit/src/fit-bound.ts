/** The row of the bounds table for fits. */
import type { Bound } from "./bounds.js";

/** Half an ulp of f32, relative. */
const ROUNDOFF = 2 ** -24;

/** What a fit was made of. */
export interface FitBoundOptions {
  /** Query rows of the head. */
  readonly rows: number;
  /** Cells that the queries attended to before. */
  readonly cells: number;
  readonly keyDim: number;
  /** Rows that were solved for. */
  readonly free: number;
  /** The largest ridge factor of them; default 1. */
  readonly stiffest?: number;
  readonly lambda: number;
  /** Largest |q||k|. */
  readonly score: number;
  /** Largest |value|. */
  readonly value: number;
  /** Root mean square of the attention outputs. */
  readonly length: number;
}

/** How far the error |A V - O| / |O| of a fit may lie from the reference's. */
export interface FitBound {
  /** Of any error that is computed in f32, or over values that were stored. */
  readonly output: number;
  /** What the solver may add, as a share of |A V - O| before the fit. */
  readonly missing: number;
}

/**
 * Nobody has to find the same values: directions that no query sees are free. So what is bounded is the residual.
 * - Store: an output is a mean of values, so it moves by no more than one value does: `store` of the largest, on either
 *   side.
 * - Attention in f32: a score is a sum of keyDim products, off by keyDim + 4 roundoffs of |q||k|, which moves a weight by
 *   as much, relative; the sum over the cells adds their number of roundoffs. Twice: for the outputs to reach, and for
 *   those of the rows.
 * - Solver: normal equations G = A^T A + ridge, ridge = lambda trace / n. The computed X solves (G + dG) X = b + db with
 *   |dG| <= n u |G| (Higham, 10.4), |db| <= m u |A||E|. Since |A G^-1/2| <= 1, |G^-1/2| <= sqrt(n / (lambda trace)) and
 *   |X| sqrt(trace) <= sqrt(n / lambda) |E|, the residual grows by at most (2 n (n / lambda) + m sqrt(n / lambda)) u |E|.
 *   With ridge factors up to s, |G| <= trace + s ridge, so n / lambda + s takes the place of n / lambda. The dual form has
 *   the same bound.
 *
 * @param store what storing a value may cost
 */
export function fitBound(store: Bound, options: FitBoundOptions): FitBound {
  const { rows, cells, keyDim, free, stiffest = 1, lambda, score, value, length } = options;
  const stored = 2 * (store.absolute + (store.relative + store.ofBlockMax) * value);
  const attention = 2 * (2 * (keyDim + 4) * score + cells) * ROUNDOFF * value;
  const condition = free / lambda + stiffest;
  return {
    output: (stored + attention) / length,
    missing: (2 * free * condition + rows * Math.sqrt(condition)) * ROUNDOFF,
  };
}
