/** "Did you mean": the known name that is nearest to a mistyped one. */

/** Longer words are not compared: nobody mistypes a name of that length, and the cost grows with its square. */
const LONGEST = 64;

/** One wrong letter in three is still a typing mistake; more is another word. */
const allowedEdits = (length: number): number => Math.max(1, Math.floor(length / 3));

/**
 * The candidate with the fewest edits (insert, delete, replace, swap of neighbours), or null when none is near.
 * Case does not count. Among equals the first wins.
 *
 * @example
 * nearestName("mena", ["mean", "sum"]); // "mean"
 */
export function nearestName(name: string, candidates: Iterable<string>): string | null {
  if (name.length > LONGEST) return null;
  const wanted = name.toLowerCase();
  let best: string | null = null;
  let fewest = allowedEdits(name.length) + 1;
  for (const candidate of candidates) {
    if (candidate.length > LONGEST) continue;
    const edits = editDistance(wanted, candidate.toLowerCase());
    if (edits < fewest) [best, fewest] = [candidate, edits];
  }
  return best;
}

/** The hint of an unknown name: the nearest one, or all of them. */
export function nameHint(name: string, candidates: readonly string[]): string {
  const nearest = nearestName(name, candidates);
  if (nearest !== null) return `did you mean ${nearest}?`;
  return candidates.length === 0 ? "there are none" : `there are: ${candidates.join(", ")}`;
}

/** Optimal string alignment distance: Levenshtein plus the swap of two neighbours. */
export function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = last[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      let edits = Math.min(replaced, last[j]! + 1, row[j - 1]! + 1);
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (swapped) edits = Math.min(edits, beforeLast[j - 2]! + 1);
      row.push(edits);
    }
    [beforeLast, last] = [last, row];
  }
  return last[b.length]!;
}
