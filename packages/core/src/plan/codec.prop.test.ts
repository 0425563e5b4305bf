/** Plan files with bytes changed at random under a right checksum: a code of ours, or a plan that is one. */
import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { fitOf } from "../../test/fits.js";
import { anyPlans, SEED } from "../../test/plans.js";
import { smallCache, smallLayer } from "../../test/small-cache.js";
import { isKvfoldError } from "../errors.js";
import { checkPlanAlone } from "./check.js";
import { decodePlan, encodePlan } from "./codec.js";
import type { MergePlan } from "./plan.js";

const view = await smallCache({ layers: [smallLayer(), smallLayer({ kvHeads: 1 })], cells: 7 }).lease();
const CHECKSUM_BYTES = 32;
const RUNS = 2000 * Number(process.env.KVFOLD_FAST_CHECK_RUNS ?? 1);

/** Plans of every kind; masks are for 2 layers of 2 heads, the second of which the second layer lacks. */
const plans: fc.Arbitrary<MergePlan> = fc
  .record({ plan: anyPlans(view), kind: fc.constantFrom("plain", "fit", "values"), row: fc.nat(6) })
  .map(({ plan, kind, row }) => {
    const mask = new Uint8Array(4 * plan.rows);
    mask[row % plan.rows] = 1;
    if (kind === "plain" || plan.pins !== null) return plan;
    if (kind === "fit") return { ...plan, fit: fitOf({ free: mask, lambda: 0.1, horizon: 9, maxRows: 64 }) };
    const { valueDim } = view.shape.layers[0]!;
    return { ...plan, values: { given: mask, data: new Float32Array(valueDim).fill(0.5) } };
  });

type Change = (file: Uint8Array) => Uint8Array;

const place = fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true });
const bytes = fc.oneof(
  fc.constantFrom([0, 0, 0, 0], [255, 255, 255, 255], [0, 0, 0, 128], [0, 0, 192, 127], [1, 0, 0, 0]),
  fc.array(fc.nat(255), { minLength: 1, maxLength: 4 }),
);
const at = (file: Uint8Array, share: number): number => Math.floor(share * file.length);

/** Bytes overwritten, taken out, put in, or copied from elsewhere in the file. */
const change: fc.Arbitrary<Change> = fc.oneof(
  fc.tuple(place, bytes).map(
    ([share, next]): Change =>
      (file) => {
        const changed = file.slice();
        changed.set(next.slice(0, file.length - at(file, share)), at(file, share));
        return changed;
      },
  ),
  fc.tuple(place, fc.integer({ min: 1, max: 16 })).map(
    ([share, count]): Change =>
      (file) => {
        const from = at(file, share);
        return Uint8Array.of(...file.subarray(0, from), ...file.subarray(from + count));
      },
  ),
  fc.tuple(place, bytes).map(
    ([share, next]): Change =>
      (file) => {
        const from = at(file, share);
        return Uint8Array.of(...file.subarray(0, from), ...next, ...file.subarray(from));
      },
  ),
  fc.tuple(place, place, fc.integer({ min: 1, max: 32 })).map(
    ([from, to, count]): Change =>
      (file) => {
        const changed = file.slice();
        changed.copyWithin(at(file, to), at(file, from), at(file, from) + count);
        return changed;
      },
  ),
);

/** The file without its checksum, changed, with a right one again. */
function forge(file: Uint8Array, changes: readonly Change[]): Uint8Array {
  const body = changes.reduce((all, each) => each(all), file.subarray(0, file.length - CHECKSUM_BYTES));
  return Uint8Array.of(...body, ...createHash("sha256").update(body).digest());
}

describe("decodePlan", () => {
  it("answers any forged file with a code, or with a plan that lives through another file", () => {
    const seen = { refused: 0, read: 0 };
    fc.assert(
      fc.property(plans, fc.array(change, { minLength: 1, maxLength: 4 }), (plan, changes) => {
        const forged = forge(encodePlan(plan, { note: "n" }), changes);
        let plain: ReturnType<typeof decodePlan>;
        try {
          plain = decodePlan(forged, { cells: 64, entries: 4096 });
        } catch (error) {
          expect(isKvfoldError(error) && error.code.startsWith("KVFOLD_PLAN_"), String(error)).toBe(true);
          seen.refused++;
          return;
        }
        seen.read++;
        const again = decodePlan(encodePlan(plain.plan, plain.metadata, plain.pieces));
        expect(again).toEqual(plain);
        try {
          checkPlanAlone(plain.plan, view.shape);
        } catch (error) {
          expect(isKvfoldError(error), String(error)).toBe(true);
        }
      }),
      { seed: SEED, numRuns: RUNS },
    );
    // a test of which one side never happens shows nothing
    expect(seen.refused).toBeGreaterThan(RUNS / 10);
    expect(seen.read).toBeGreaterThan(RUNS / 100);
  });
});
