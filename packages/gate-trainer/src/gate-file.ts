/** What a gate file says: a linear gate for each layer, the features it reads, the target it was fitted to. */

/**
 * What the gate looks at, per cell. Positions are no feature: a gate that knows where a token stands learns the length
 * of its training texts.
 *
 * - `key`: the de-rotated keys of all KV heads, `kvHeads * keyDim` numbers
 * - `value`: the values of all KV heads, `kvHeads * valueDim` numbers
 * - `logKeyNorm`, `logValueNorm`: natural log of the Euclidean norm, one number for each KV head
 * - `neighbourKeyCosine`, `neighbourValueCosine`: cosine with the cell before, one number for each KV head
 * - `logCount`: natural log of the tokens inside the cell
 * - `surprise`: minus the natural log of the token's probability
 */
export type GateFeature =
  | "key"
  | "value"
  | "logKeyNorm"
  | "logValueNorm"
  | "neighbourKeyCosine"
  | "neighbourValueCosine"
  | "logCount"
  | "surprise";

/**
 * What the gate predicts, one number for each KV head and cell.
 *
 * - `attention`: `log max_q a(q) * |W_O v| / |h_q|`, the largest part that a cell has in the residual stream over the
 *   sampled queries (the target of KVzap, arXiv 2601.07891). High: keep.
 * - `mergeDamage`: the log of the expected change of a head's output when the cell is accumulated into the live cell
 *   before it. High: keep apart.
 */
export type GateTarget = "attention" | "mergeDamage";

/**
 * What a decision means for one cell of one KV head, after Dynamic Memory Compression (arXiv 2403.09636).
 *
 *     cells   a b c d e
 *     gate      0 1 1 0        1 = accumulate into the cell before, 0 = append
 *     rows    a [bcd] e
 *
 * `append`: the token becomes a cell of its own. `accumulate`: it is added to the last cell of its head,
 * `k' = (z k + w k_t) / (z + w)`, the value likewise, where z is the weight that the cell has gathered and w, the
 * token's own weight, lies in (0, 1).
 */
export type GateDecision =
  | { readonly action: "append"; readonly weight: number }
  | { readonly action: "accumulate"; readonly weight: number };

/** Mean and standard deviation of the target in training; the gate predicts standardised numbers. */
export interface TargetScale {
  /** [kvHeads] */
  readonly mean: Float32Array;
  /** [kvHeads] */
  readonly deviation: Float32Array;
}

/** The linear gate of one layer: `y = W x + b`. */
export interface GateLayer {
  /** Index of the layer in the model. */
  readonly layer: number;
  /** Row-major. [kvHeads, features] */
  readonly weight: Float32Array;
  /** [kvHeads] */
  readonly bias: Float32Array;
  readonly scale: TargetScale;
}

/**
 * A gate file in memory. A gate orders cells; how many of them stay is the budget's affair, so a bad gate is a bad
 * order and never a damaged cache.
 */
export interface GateFile {
  /** Format version. */
  readonly version: 1;
  /** SHA-256 of the tensors of the model that it was trained for, in hexadecimal. */
  readonly modelHash: string;
  /** In the order in which they are concatenated to x. */
  readonly features: readonly GateFeature[];
  readonly target: GateTarget;
  /** Names the calibration text: a file name and its SHA-256. */
  readonly corpus: string;
  readonly layers: readonly GateLayer[];
}
