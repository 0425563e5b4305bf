/** Cholesky factor of a small dense symmetric matrix, with a guarded diagonal, in double. */

/**
 * A pivot below this share of its own diagonal entry is raised to it. Rounding moves pivot j by about n * 2^-53 of that
 * entry (Demmel, LAPACK working note 14), so a smaller pivot carries no information; raising it adds that much ridge to
 * that one unknown. Good for n up to 2^15.
 */
export const PIVOT_FLOOR: number = 2 ** -36;

/** No pivot stays below this share of the mean diagonal either: an unknown that no equation sees stays near 0. */
export const PIVOT_LEAST: number = 2 ** -60;

/**
 * Overwrites the lower triangle of a symmetric matrix by L with L L^T = matrix.
 *
 * @param matrix row by row; only the lower triangle is read; its diagonal is not all zero. [n, n]
 * @returns how many pivots were raised
 */
export function choleskyFactor(matrix: Float64Array, n: number): number {
  let trace = 0;
  for (let j = 0; j < n; j++) trace += matrix[j * n + j]!;
  const least = (trace / n) * PIVOT_LEAST;
  let guarded = 0;
  for (let j = 0; j < n; j++) {
    const diagonal = matrix[j * n + j]!;
    const pivot = diagonal - dotRows(matrix, n, j, j, j);
    const floor = Math.max(diagonal * PIVOT_FLOOR, least);
    if (!(pivot >= floor)) guarded++;
    const root = Math.sqrt(pivot >= floor ? pivot : floor);
    matrix[j * n + j] = root;
    for (let i = j + 1; i < n; i++) {
      matrix[i * n + j] = (matrix[i * n + j]! - dotRows(matrix, n, i, j, j)) / root;
    }
  }
  return guarded;
}

/** Overwrites B by the solution of L L^T X = B. `factor`: [n, n], `right`: [n, width] */
export function choleskySolve(factor: Float64Array, n: number, right: Float64Array, width: number): void {
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < i; k++) subtractRow(right, width, i, k, factor[i * n + k]!);
    divideRow(right, width, i, factor[i * n + i]!);
  }
  for (let i = n - 1; i >= 0; i--) {
    for (let k = i + 1; k < n; k++) subtractRow(right, width, i, k, factor[k * n + i]!);
    divideRow(right, width, i, factor[i * n + i]!);
  }
}

function dotRows(matrix: Float64Array, n: number, a: number, b: number, length: number): number {
  let sum = 0;
  for (let k = 0; k < length; k++) sum += matrix[a * n + k]! * matrix[b * n + k]!;
  return sum;
}

function subtractRow(rows: Float64Array, width: number, to: number, from: number, factor: number): void {
  for (let c = 0; c < width; c++) {
    rows[to * width + c] = rows[to * width + c]! - factor * rows[from * width + c]!;
  }
}

function divideRow(rows: Float64Array, width: number, row: number, by: number): void {
  for (let c = 0; c < width; c++) rows[row * width + c] = rows[row * width + c]! / by;
}
