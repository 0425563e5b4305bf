/** Sets of cells, each in rising order. */

/** All of `cells` but the taken ones. Both in rising order. */
export function without(cells: Uint32Array, taken: Uint32Array): Uint32Array {
  if (taken.length === 0) return cells;
  const left = new Uint32Array(cells.length);
  let count = 0;
  let next = 0;
  for (let i = 0; i < cells.length; i++) {
    const cell = cells[i]!;
    while (taken[next]! < cell) next++;
    if (taken[next] !== cell) left[count++] = cell;
  }
  return left.slice(0, count);
}

/** The cells that are in both sets. */
export const common = (a: Uint32Array, b: Uint32Array): Uint32Array => without(a, without(a, b));

/** All cells of two sets that have none in common. */
export function union(a: Uint32Array, b: Uint32Array): Uint32Array {
  const both = new Uint32Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both.sort();
}
