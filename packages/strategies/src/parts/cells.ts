/** Sets of cells, each in rising order. */

/** All of `cells` but the taken ones. */
export function without(cells: Uint32Array, taken: Uint32Array): Uint32Array {
  const gone = new Set(taken);
  return taken.length === 0 ? cells : cells.filter((cell) => !gone.has(cell));
}

/** All cells of two sets that have none in common. */
export function union(a: Uint32Array, b: Uint32Array): Uint32Array {
  const both = new Uint32Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both.sort();
}
