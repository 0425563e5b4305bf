/** The one table of error bounds: how far a computed row, statistic or logit may lie from the double reference. */
import type { DType } from "@kvfold/core";
import { type FitBound, type FitBoundOptions, fitBound } from "./fit-bound.js";
import { fixedPointBound } from "./fixed-point-bound.js";

/**
 * Allowed |got - want| of element i:
 * `absolute + relative * |want[i]| + ofBlockMax * max |want| over the block of i`.
 * Blocks are `block` consecutive elements from index 0; `Infinity` makes the whole array one block.
 */
export interface Bound {
  readonly absolute: number;
  readonly relative: number;
  readonly ofBlockMax: number;
  readonly block: number;
}

/** Unit roundoff: half an ulp relative to the value, 2^-p for p significant bits. */
export const ROUNDOFF: Readonly<Record<"f32" | "f16" | "bf16", number>> = {
  f32: 2 ** -24,
  f16: 2 ** -11,
  bf16: 2 ** -8,
};

/** Channels of a block of every block type. */
const BLOCK = 32;

/** Half the distance of two subnormal f16 numbers: what is lost below 2^-14, where relative error has no meaning. */
const F16_SUBNORMAL = 2 ** -25;

/** A float type: half an ulp, and half a subnormal step near zero. */
const float = (relative: number, absolute: number): Bound => ({
  absolute,
  relative,
  ofBlockMax: 0,
  block: BLOCK,
});

/**
 * A block type with an f16 scale d = amax * step, and integers of magnitude up to `largest`.
 * `steps`: how many steps a value may move in rounding. The scale is stored in f16, so every value moves by another
 * `largest * d * 2^-11`; below the normal f16 range by `largest * 2^-25`.
 * A value that sits on the edge of two integers may fall to either side, hence the f32 slack of the division.
 */
const blockType = (step: number, largest: number, steps: number): Bound => ({
  absolute: largest * F16_SUBNORMAL,
  relative: 0,
  ofBlockMax: step * (steps + largest * ROUNDOFF.f16) + 4 * ROUNDOFF.f32,
  block: BLOCK,
});

/**
 * What storing a row in a type may cost, against the unrounded row.
 * - q8_0: d = amax / 127, nearest integer: half a step.
 * - q4_0, q5_0: d = -m / 8, -m / 16 where m is the value of largest magnitude, integers -8..7, -16..15: the value
 *   opposite to m is clipped, so a whole step may be lost.
 * - q4_1, q5_1: d = (max - min) / 15, / 31 with max - min <= 2 amax: half a step of at most 2 amax / 15; the minimum is
 *   an f16 as well, which adds |min| * 2^-11.
 */
const STORE: Readonly<Record<DType, Bound>> = {
  f32: float(ROUNDOFF.f32, 2 ** -150),
  f16: float(ROUNDOFF.f16, F16_SUBNORMAL),
  bf16: float(ROUNDOFF.bf16, 2 ** -134),
  q8_0: blockType(1 / 127, 127, 0.5),
  q4_0: blockType(1 / 8, 8, 1),
  q5_0: blockType(1 / 16, 16, 1),
  q4_1: addBounds(blockType(2 / 15, 15, 0.5), { ...float(0, F16_SUBNORMAL), ofBlockMax: ROUNDOFF.f16 }),
  q5_1: addBounds(blockType(2 / 31, 31, 0.5), { ...float(0, F16_SUBNORMAL), ofBlockMax: ROUNDOFF.f16 }),
};

/** How the rows of a fold were made. */
export interface FoldBoundOptions {
  /** The most members that one row sums; default 8. */
  readonly members?: number;
  /** The largest sum of |weight * member| of any element, for q8_0 of any block (its largest elements); default 8. */
  readonly magnitude?: number;
  /** Keys were re-rotated to the row's position. */
  readonly rotated?: boolean;
  /** Hadamard block size that was undone and redone around the rotation; default 0. */
  readonly hadamard?: number;
  /**
   * What the row is compared with. `exact` (default): the unrounded double row. `stored`: a reference row that was
   * itself stored in the type, so that both sides may have been rounded, in different directions.
   */
  readonly against?: "exact" | "stored";
}

/**
 * A merged row: n products and n - 1 sums in f32 lose at most n * 2^-24 of the sum of magnitudes (Higham, Accuracy and
 * Stability, 3.1: gamma_n), weights stored as f32 add one more 2^-24; then the store.
 * Re-rotation in f32 with an angle computed in double: x cos - y sin is two products, a sum, and sine and cosine rounded
 * once: 4 * 2^-24 of |x| + |y| <= 2 * magnitude. A Hadamard pass over b channels is log2(b) sums and a scaling of
 * values up to sqrt(b) * magnitude; it runs before and after the rotation.
 * Rows of q8_0 may be summed in fixed point instead (packages/native-cpu-cuda-metal, common/q8_sums.h).
 */
function foldBound(dtype: DType, options: FoldBoundOptions = {}): Bound {
  const { members = 8, magnitude = 8, rotated = false, hadamard = 0, against = "exact" } = options;
  const rotation = rotated ? 8 : 0;
  const transform = hadamard > 0 ? 2 * (Math.log2(hadamard) + 1) * Math.sqrt(hadamard) : 0;
  const arithmetic = (members + 1 + rotation + transform) * ROUNDOFF.f32 * magnitude;
  const store = STORE[dtype];
  const sums = dtype === "q8_0" ? fixedPointBound(members, magnitude) : float(0, 0);
  const exact = addBounds(addBounds(store, sums), { ...float(0, arithmetic), ofBlockMax: blockSlack(dtype) });
  return against === "exact" ? exact : scaleBound(exact, 2);
}

/** Arithmetic error also moves the largest value of a block, and with it the scale; bounded by one f32 part in 2^20. */
const blockSlack = (dtype: DType): number => (STORE[dtype].ofBlockMax > 0 ? 2 ** -20 : 0);

/** How key statistics were made. */
export interface KeyStatsBoundOptions {
  /** Channels of a key head. */
  readonly keyDim: number;
  /** Cells that the mean direction sums. */
  readonly cells: number;
  /** Length of the mean of the unit keys, in (0, 1]: the mean direction is as uncertain as the sum over this length. */
  readonly meanLength?: number;
}

/**
 * `norm`: n squares and sums in f32 and a square root lose n/2 + 2 roundoffs, relative.
 * `meanCosine`: unit keys carry n/2 + 6 roundoffs (norm, division, de-rotation); a pairwise or blocked sum of T of them
 * adds at most 64 + log2 T; dividing by the length of the mean magnifies both; the dot product adds n. Absolute, the cosine is at most 1.
 * The values read from the cache are the same bytes on both sides, so the type of the cache does not matter.
 */
function keyStatsBound(options: KeyStatsBoundOptions): { readonly norm: Bound; readonly meanCosine: Bound } {
  const { keyDim, cells, meanLength = 0.05 } = options;
  const unit = keyDim / 2 + 6;
  const mean = (unit + 64 + Math.log2(Math.max(2, cells))) / meanLength;
  return {
    norm: float((keyDim / 2 + 2) * ROUNDOFF.f32, 2 ** -140),
    meanCosine: float(0, (unit + mean + keyDim) * ROUNDOFF.f32),
  };
}

/** Which engine and model the logits come from. */
export interface LogitsBoundOptions {
  readonly flashAttention: boolean;
  /** Layers of the model. */
  readonly layers: number;
  /** Cells that the last token attends to. */
  readonly cells: number;
  /** Root mean square of the attention scores q.k / sqrt(d); default 2. */
  readonly scoreRms?: number;
  /** Largest |bias| of any cell; default 0. */
  readonly maxBias?: number;
  /** Position of the last token; default: `cells`. */
  readonly lastPosition?: number;
}

/**
 * llama.cpp's logits against an attention in double over the same rows, for a model with f32 weights. Relative to the
 * largest |logit|. Rounding errors are independent, so their root mean squares add; layers add up like a random walk.
 * - Query: the CPU backend converts q to the dot-product type of K: f16 (2^-11 / sqrt 3), or q8_0, where a block of 32
 *   normal values has amax ~ 2.2 sigma, hence an error of 2.2 / 127 / sqrt 12 = 0.5 % of sigma. A relative error e of
 *   q moves the scores, and so the log-weights of the cells, by e * scoreRms.
 * - New rows: the engine stores each new row; the double attention stores its own, and a value between two steps may
 *   go up on one side and down on the other: the same e for keys, e once for values.
 * - Values: without flash attention the weights are converted to the type of V. With flash attention and f16 values
 *   the CPU accumulates V in f16: n additions to a sum that grows like sqrt(n) lose 2^-11 / sqrt 3 * sqrt(n / 2) of it.
 *   Other values are accumulated in f32.
 * - Angles: llama.cpp rotates by position * frequency in f32, so the fastest pair is off by position * 2^-24 radians.
 * - Bias: the mask of flash attention is f16.
 * - The rest of the model: f32 matrix products of up to 4,096 terms, 2^-24 * sqrt(4,096).
 */
function logitsBound(dtype: DType, options: LogitsBoundOptions): Bound {
  const { flashAttention, layers, cells, scoreRms = 2, maxBias = 0, lastPosition = cells } = options;
  const rounding = ROUNDING_RMS[dtype];
  const half = ROUNDING_RMS.f16;
  const query = rounding * scoreRms;
  const rows = rounding * Math.hypot(scoreRms, 1);
  const weights = Math.min(rounding, half);
  const values = flashAttention && dtype === "f16" ? half * Math.sqrt(cells / 2) : weights;
  const angles = lastPosition * ROUNDOFF.f32 * scoreRms;
  const mask = flashAttention ? half * maxBias : 0;
  const products = ROUNDOFF.f32 * Math.sqrt(4096);
  const layer = Math.hypot(query, rows, values, angles, mask, products);
  return {
    absolute: 0,
    relative: 0,
    ofBlockMax: MARGIN * Math.sqrt(layers) * layer,
    block: Number.POSITIVE_INFINITY,
  };
}

/** Root mean square error of storing normally distributed values, relative to their standard deviation. */
const ROUNDING_RMS: Readonly<Record<DType, number>> = {
  f32: ROUNDOFF.f32,
  f16: ROUNDOFF.f16 / Math.sqrt(3),
  bf16: ROUNDOFF.bf16 / Math.sqrt(3),
  q8_0: 2.2 / 127 / Math.sqrt(12),
  q4_0: 2.2 / 8 / Math.sqrt(12),
  q5_0: 2.2 / 16 / Math.sqrt(12),
  q4_1: 4.4 / 15 / Math.sqrt(12),
  q5_1: 4.4 / 31 / Math.sqrt(12),
};

/**
 * From a typical layer to the worst logit. A model in double with exactly these roundings planted (logits-bound.test.ts)
 * stays between a quarter of the sum above and the sum, and so does llama.cpp itself on small random models; 2 leaves
 * room for models whose layers amplify more.
 */
const MARGIN = 2;

/** The table. */
export const BOUNDS: {
  readonly store: Readonly<Record<DType, Bound>>;
  readonly fold: (dtype: DType, options?: FoldBoundOptions) => Bound;
  readonly keyStats: (options: KeyStatsBoundOptions) => { readonly norm: Bound; readonly meanCosine: Bound };
  readonly fit: (dtype: DType, options: FitBoundOptions) => FitBound;
  readonly logits: (dtype: DType, options: LogitsBoundOptions) => Bound;
} = {
  store: STORE,
  fold: foldBound,
  keyStats: keyStatsBound,
  fit: (dtype, options) => fitBound(STORE[dtype], options),
  logits: logitsBound,
};

/** A row of the table. */
export function boundFor(operation: "store", dtype: DType): Bound;
export function boundFor(operation: "fold", dtype: DType, options?: FoldBoundOptions): Bound;
export function boundFor(operation: "fit", dtype: DType, options: FitBoundOptions): FitBound;
export function boundFor(operation: "logits", dtype: DType, options: LogitsBoundOptions): Bound;
export function boundFor(
  operation: keyof Omit<typeof BOUNDS, "keyStats">,
  dtype: DType,
  options?: FoldBoundOptions | FitBoundOptions | LogitsBoundOptions,
): Bound | FitBound {
  if (operation === "store") return STORE[dtype];
  if (operation === "fit") return BOUNDS.fit(dtype, options as FitBoundOptions);
  if (operation === "logits") return logitsBound(dtype, options as LogitsBoundOptions);
  return foldBound(dtype, options as FoldBoundOptions | undefined);
}

/** Both errors one after the other. */
export function addBounds(a: Bound, b: Bound): Bound {
  return {
    absolute: a.absolute + b.absolute,
    relative: a.relative + b.relative,
    ofBlockMax: a.ofBlockMax + b.ofBlockMax,
    block: Math.max(a.block, b.block),
  };
}

/** The same error several times. */
export function scaleBound({ absolute, relative, ofBlockMax, block }: Bound, by: number): Bound {
  return { absolute: absolute * by, relative: relative * by, ofBlockMax: ofBlockMax * by, block };
}
