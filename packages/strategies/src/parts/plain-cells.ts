/** What plans need of a cache in which heads keep different cells. */
import { type CacheShape, type CacheView, KvfoldError } from "@kvfold/core";

/**
 * Count and bias belong to a whole cell, so heads that put different cells into one can share neither.
 * @throws KvfoldError KVFOLD_NOT_APPLICABLE for cells of several tokens or with a bias
 */
export function needPlainCells(
  { counts, bias }: CacheView,
  { who, hint }: { readonly who: string; readonly hint: string },
): void {
  const merged = counts.findIndex((count) => count !== 1);
  const biased = bias?.findIndex((value) => value !== 0) ?? -1;
  if (merged < 0 && biased < 0) return;
  const what =
    merged >= 0
      ? `cell ${merged} holds ${counts[merged]} tokens`
      : `cell ${biased} has bias ${bias?.[biased]}`;
  throw new KvfoldError("KVFOLD_NOT_APPLICABLE", `${what}, which heads that keep other cells cannot share`, {
    who,
    hint,
  });
}

/** true, or why heads cannot keep cells of their own: a sliding window compares positions, which such cells lack. */
export function allowsHeads({ layers }: CacheShape, instead: string): true | string {
  const windowed = layers.find((layer) => layer.window !== null);
  if (windowed === undefined) return true;
  return `layer ${windowed.layer} has a sliding window, which needs true positions; use ${instead}`;
}
