/** Compares arrays within a bound of the table and shows the first mismatches. */
import type { Bound } from "./bounds.js";

/** Mismatches shown before the rest is only counted. */
const SHOWN = 8;

/** Largest magnitude of each block. */
function blockMaxima(values: ArrayLike<number>, block: number): Float64Array {
  const maxima = new Float64Array(Number.isFinite(block) ? Math.ceil(values.length / block) : 1);
  for (let i = 0; i < values.length; i++) {
    const b = Number.isFinite(block) ? Math.floor(i / block) : 0;
    const magnitude = Math.abs(values[i]!);
    if (magnitude > maxima[b]!) maxima[b] = magnitude;
  }
  return maxima;
}

/**
 * What the bound allows for each element.
 * @returns [expected.length]
 */
export function allowances(expected: ArrayLike<number>, bound: Bound): Float64Array {
  const maxima = blockMaxima(expected, bound.block);
  const allowed = new Float64Array(expected.length);
  for (let i = 0; i < expected.length; i++) {
    const blockMax = maxima[Number.isFinite(bound.block) ? Math.floor(i / bound.block) : 0] ?? 0;
    allowed[i] = bound.absolute + bound.relative * Math.abs(expected[i]!) + bound.ofBlockMax * blockMax;
  }
  return allowed;
}

/**
 * Passes when every element of `actual` lies within the bound of `expected`. A NaN only equals a NaN, an infinity only
 * itself.
 *
 * @throws Error that lists index, got, want and allowed of the first mismatches
 */
export function expectWithin(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  bound: Bound,
  label: string,
): void {
  if (actual.length !== expected.length) {
    throw new Error(`${label}: got ${actual.length} elements, want ${expected.length}`);
  }
  const allowed = allowances(expected, bound);
  const lines: string[] = [];
  let mismatches = 0;
  let worst = 0;
  for (let i = 0; i < expected.length; i++) {
    const got = actual[i]!;
    const want = expected[i]!;
    if (Object.is(got, want) || got === want) continue;
    const error = Math.abs(got - want);
    if (error <= allowed[i]!) continue;
    mismatches += 1;
    worst = Math.max(worst, error / allowed[i]!);
    if (lines.length < SHOWN) {
      lines.push(
        `  [${i}] got ${got}, want ${want}, error ${error.toExponential(2)}, allowed ${allowed[i]!.toExponential(2)}`,
      );
    }
  }
  if (mismatches === 0) return;
  const more = mismatches > lines.length ? `\n  and ${mismatches - lines.length} more` : "";
  throw new Error(
    `${label}: ${mismatches} of ${expected.length} elements out of bounds, the worst by a factor of ` +
      `${worst.toPrecision(3)}\n${lines.join("\n")}${more}`,
  );
}
