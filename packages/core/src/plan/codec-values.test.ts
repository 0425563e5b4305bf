/** Fits and given values survive a file; files of plans without them have not changed; damage is refused. */
import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { fitOf } from "../../test/fits.js";
import { codeOf, smallCache, smallLayer } from "../../test/small-cache.js";
import { decodePlan, encodePlan } from "./codec.js";
import { hashPlan } from "./hash.js";
import { compositePlan, keepPlan } from "./keep.js";
import type { MergePlan } from "./plan.js";
import { packSections, unpackSections } from "./sections.js";

const layers = [smallLayer(), smallLayer({ kvHeads: 1, valueDim: 16 })];
const view = await smallCache({ cells: 6, layers }).lease();
const kept = keepPlan(view, [0, 2, 5]);
const composite = compositePlan(view, Uint32Array.of(0, 2, 5, 1, 2, 5, 0, 3, 5, 0, 3, 5));
const free = Uint8Array.of(0, 1, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0);
const fit = fitOf({ free, lambda: 0.1, horizon: 77, maxRows: 300, holdout: 7 });
const values = { given: free, data: Float32Array.from({ length: 3 * 32 + 16 }, (_, i) => i / 7 - 3) };
const stiffFree = free.map((bit, i) => bit * (i === 3 ? 255 : 1));
const all: readonly MergePlan[] = [kept, composite].flatMap((plan) => [
  { ...plan, fit },
  { ...plan, fit: { ...fit, free: stiffFree } },
  { ...plan, values },
]);

describe("a plan file", () => {
  it("gives back fits and given values", () => {
    for (const plan of all) expect(decodePlan(encodePlan(plan)).plan).toEqual(plan);
  });

  it("has no section of them for other plans", () => {
    for (const plan of [kept, composite]) {
      const tags = [...unpackSections(encodePlan(plan)).keys()];
      for (const tag of ["FITR", "FREE", "RIDG", "GIVN", "VDAT"]) expect(tags).not.toContain(tag);
    }
    // the bytes that version 1 wrote for this plan before fits existed
    const sha = createHash("sha256").update(encodePlan(kept)).digest("hex");
    expect(sha).toBe("29865785e4a0b3bf7ff4dfffd219e295e9f393ea453025a5e9f5540a03bb6e7e");
  });

  it("leaves out what asks for nothing", () => {
    const nothing = { ...kept, fit: { ...fit, free: new Uint8Array(12) } };
    expect(encodePlan(nothing)).toEqual(encodePlan(kept));
    expect(hashPlan(nothing)).toBe(hashPlan(kept));
  });

  it("is small: a bit for each head and row", () => {
    const more = encodePlan({ ...kept, fit }).length - encodePlan(kept).length;
    expect(more).toBe(2 * 12 + 56 + 4 + 2);
    const factors =
      encodePlan({ ...kept, fit: { ...fit, free: stiffFree } }).length - encodePlan(kept).length;
    expect(factors).toBe(more + 12 + 4);
  });
});

describe("the hash of a plan", () => {
  it("tells every part of a fit and of values", () => {
    const changed: MergePlan[] = [
      ...all,
      ...[
        { lambda: 0.2 },
        { horizon: 78 },
        { maxRows: 301 },
        { holdout: 8 },
        { queries: "f".repeat(64) },
        { free: free.map((bit, i) => (i === 0 ? 1 : bit)) },
        { free: free.map((bit) => 2 * bit) },
      ].map((change) => ({ ...kept, fit: { ...fit, ...change } })),
      { ...kept, values: { given: free, data: values.data.map((value, i) => (i === 5 ? 0 : value)) } },
      kept,
    ];
    expect(new Set(changed.map(hashPlan)).size).toBe(changed.length);
  });
});

/** The file of a fit or of values with one section changed. */
function spoiled(plan: MergePlan, tag: string, change: (bytes: Uint8Array) => Uint8Array | null): Uint8Array {
  const sections = sectionsOf(plan).flatMap((section) => {
    const next = section.tag === tag ? change(section.bytes.slice()) : section.bytes;
    return next === null ? [] : [{ tag: section.tag, bytes: next }];
  });
  return packSections(sections);
}

const sectionsOf = (plan: MergePlan) =>
  [...unpackSections(encodePlan(plan))].map(([tag, bytes]) => ({ tag, bytes }));

const put = (at: number, value: number) => (bytes: Uint8Array) => {
  new DataView(bytes.buffer).setUint32(at, value, true);
  return bytes;
};

describe("a damaged file is refused when", () => {
  const fitted = { ...kept, fit };
  const stiff = { ...kept, fit: { ...fit, free: stiffFree } };
  const given = { ...kept, values };
  it.each<[string, Uint8Array]>([
    ["a mask is missing", spoiled(fitted, "FREE", () => null)],
    ["a request is missing", spoiled(fitted, "FITR", () => null)],
    ["values are missing", spoiled(given, "VDAT", () => null)],
    ["a request is cut", spoiled(fitted, "FITR", (bytes) => bytes.slice(1))],
    ["a method is unknown", spoiled(fitted, "FITR", put(0, 1))],
    ["a holdout is 0", spoiled(fitted, "FITR", put(12, 0))],
    ["lambda is NaN", spoiled(fitted, "FITR", put(20, 0x7ff80000))],
    ["a mask is cut", spoiled(fitted, "FREE", (bytes) => bytes.slice(0, -1))],
    ["a mask has no size", spoiled(fitted, "FREE", () => new Uint8Array(3))],
    ["a mask is of other heads", spoiled(fitted, "FREE", put(0, 9))],
    ["a mask has stray bits", spoiled(fitted, "FREE", (bytes) => bytes.fill(0xff, 5))],
    [
      "factors come without a mask",
      packSections([...sectionsOf(kept), { tag: "RIDG", bytes: Uint8Array.of(3) }]),
    ],
    ["factors are cut", spoiled(stiff, "RIDG", (bytes) => bytes.slice(1))],
    ["a factor is 0", spoiled(stiff, "RIDG", (bytes) => bytes.fill(0, 1))],
    ["factors say nothing", spoiled(stiff, "RIDG", (bytes) => bytes.fill(1))],
    ["a mask names no row", spoiled(fitted, "FREE", (bytes) => bytes.fill(0, 4))],
    ["values are no whole numbers of bytes", spoiled(given, "VDAT", (bytes) => bytes.slice(1))],
    ["a value is infinite", spoiled(given, "VDAT", put(0, 0x7f800000))],
    ["there are fewer values than rows", spoiled(given, "VDAT", (bytes) => bytes.slice(0, 4))],
  ])("%s", (_what, bytes) => {
    expect(codeOf(() => decodePlan(bytes))).toBe("KVFOLD_PLAN_FILE");
  });

  it("a mask claims more than the limits allow, before it is allocated", () => {
    const limits = { cells: 100, entries: 100 };
    const huge = spoiled(fitted, "FREE", put(0, 2 ** 32 - 1));
    expect(codeOf(() => decodePlan(huge, limits))).toBe("KVFOLD_PLAN_LIMIT");
    const long = spoiled(given, "VDAT", () => new Uint8Array(404));
    expect(codeOf(() => decodePlan(long, limits))).toBe("KVFOLD_PLAN_LIMIT");
  });

  it("it is written from a plan that is not valid", () => {
    expect(codeOf(() => encodePlan({ ...kept, fit: { ...fit, lambda: 0 } }))).toBe("KVFOLD_PLAN_FIT");
    expect(codeOf(() => hashPlan({ ...kept, fit: { ...fit, queries: "x" } }))).toBe("KVFOLD_PLAN_FIT");
  });
});
