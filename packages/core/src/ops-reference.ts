/** The reference of every operation that a context offers, in double precision over the floats of a view. */

import { KvfoldError, throwIfAborted } from "./errors.js";
import type { KeyStats, Ops } from "./ops.js";
import { attend } from "./ops-attend.js";
import type { CacheView } from "./view.js";

/** Operations computed here, in TypeScript. Good for any view; slow for large ones. */
export const referenceOps: Ops = { keyStats, attend };

/**
 * Norms, and the cosine of each de-rotated key with the mean of the unit keys of its head. A key of length zero has no
 * direction: it is left out of the mean, and its cosine is 0, as all are where the mean itself is zero.
 * Source: KeyDiff (arXiv 2504.15364).
 */
async function keyStats(
  view: CacheView,
  layer: number,
  options: { readonly signal?: AbortSignal } = {},
): Promise<KeyStats> {
  const shape = view.shape.layers[layer];
  if (shape === undefined) {
    throw new KvfoldError("KVFOLD_ARGUMENT", `layer ${layer} of ${view.shape.layers.length}`, {
      who: "key-stats",
    });
  }
  throwIfAborted(options.signal, "key-stats");
  const keys = await view.keys(layer, "unrotated");
  const { cells } = view.shape;
  const stats = {
    norm: new Float32Array(shape.kvHeads * cells),
    meanCosine: new Float32Array(shape.kvHeads * cells),
  };
  for (let head = 0; head < shape.kvHeads; head++) {
    throwIfAborted(options.signal, "key-stats");
    const range = [head * cells, (head + 1) * cells] as const;
    headStats(
      keys.subarray(range[0] * shape.keyDim, range[1] * shape.keyDim),
      shape.keyDim,
      stats.norm.subarray(...range),
      stats.meanCosine.subarray(...range),
    );
  }
  return stats;
}

/**
 * @param keys one head. [cells, dim]
 * @param norm written. [cells]
 * @param cosine written. [cells]
 */
function headStats(keys: Float32Array, dim: number, norm: Float32Array, cosine: Float32Array): void {
  const lengths = Float64Array.from(norm, (_, cell) =>
    Math.sqrt(dot(keys, cell * dim, keys, cell * dim, dim)),
  );
  norm.set(lengths);
  const mean = new Float64Array(dim);
  lengths.forEach((length, cell) => {
    if (length > 0) for (let i = 0; i < dim; i++) mean[i] = mean[i]! + keys[cell * dim + i]! / length;
  });
  // the sum points where the mean points
  const meanLength = Math.sqrt(dot(mean, 0, mean, 0, dim));
  lengths.forEach((length, cell) => {
    const scale = length * meanLength;
    cosine[cell] = scale > 0 ? dot(keys, cell * dim, mean, 0, dim) / scale : 0;
  });
}

type Floats = Float32Array | Float64Array;

function dot(a: Floats, fromA: number, b: Floats, fromB: number, length: number): number {
  let sum = 0;
  for (let i = 0; i < length; i++) sum += a[fromA + i]! * b[fromB + i]!;
  return sum;
}
