/** Plan files: what they keep, and what becomes of damaged, foreign and hostile ones. */
import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { anyPlans, SEED } from "../../test/plans.js";
import { codeOf, smallCache } from "../../test/small-cache.js";
import { sharedPlan } from "./builder.js";
import { decodePlan, encodePlan, planSections } from "./codec.js";
import { hashPlan } from "./hash.js";
import { compositePlan, keepPlan } from "./keep.js";
import { PIN_LEVEL } from "./plan.js";
import { packSections, type Section } from "./sections.js";

const view = await smallCache({ cells: 4 }).lease();
const shared = sharedPlan(
  view,
  [
    { members: [0], position: 0 },
    { members: [2, 1], position: 2, bias: 0.5, keyWeights: [0.25, 0.75] },
    { members: [3], position: 3 },
  ],
  { keyFrame: "target", pins: Uint8Array.of(0, 0, 0, PIN_LEVEL.exact) },
);
const composite = compositePlan(view, Uint32Array.of(0, 3, 1, 3));
const metadata = { model: "nano", note: "a\u0000b \u{1f600} \ud800", __proto__x: "1" };
const pieces = ["<s>", " the", "\n", "\udc00"];

describe("a plan file", () => {
  it("keeps plans of both layouts, metadata and pieces", () => {
    for (const plan of [shared, composite]) {
      expect(decodePlan(encodePlan(plan, metadata, pieces))).toEqual({ plan, metadata, pieces });
      expect(decodePlan(encodePlan(plan))).toEqual({ plan, metadata: {}, pieces: null });
    }
  });

  it("keeps every plan that the builders make, and gives equal bytes for equal plans", () => {
    fc.assert(
      fc.property(
        anyPlans(view),
        fc.dictionary(fc.string({ unit: "binary" }), fc.string({ unit: "binary" })),
        (plan, words) => {
          const bytes = encodePlan(plan, words);
          const back = decodePlan(bytes);
          expect(back.plan).toEqual(plan);
          expect(Object.entries(back.metadata)).toEqual(Object.entries(words));
          expect(encodePlan(back.plan, back.metadata)).toEqual(bytes);
          expect(hashPlan(back.plan)).toBe(hashPlan(plan));
        },
      ),
      { seed: SEED, numRuns: 200 },
    );
  });

  it("is the same on every machine", () => {
    // the first bytes, written out: magic, version 1, 4 sections, HEAD of 40 bytes: composite, 4 cells, 2 rows, 2 dropped
    const head = Buffer.from(encodePlan(composite).subarray(0, 48)).toString("hex");
    expect(head).toBe(
      `${Buffer.from("KVFOLDPL").toString("hex")}0100000004000000${Buffer.from("HEAD").toString("hex")}2800000000000000` +
        "0100000004000000020000000200000000000000",
    );
    expect(hashPlan(keepPlan(view, [0, 3]))).toBe(
      "2251cca75437a1eaddc3ced36b17df5b44f2d14dfc53dd169d5f6167e1f6b771",
    );
  });

  it("may lie anywhere in a buffer", () => {
    const bytes = encodePlan(shared);
    const shifted = new Uint8Array(bytes.length + 3);
    shifted.set(bytes, 3);
    expect(decodePlan(shifted.subarray(3)).plan).toEqual(shared);
  });
});

describe("a damaged file", () => {
  const file = encodePlan(shared, metadata, pieces);

  it("is refused when cut off at any byte", () => {
    for (let length = 0; length < file.length; length++) {
      expect(codeOf(() => decodePlan(file.slice(0, length)))).toBe("KVFOLD_PLAN_FILE");
    }
  });

  it("is refused when longer by a byte", () => {
    expect(codeOf(() => decodePlan(Uint8Array.of(...file, 0)))).toBe("KVFOLD_PLAN_FILE");
  });

  it("is refused when any bit is flipped", () => {
    for (let bit = 0; bit < 8 * file.length; bit++) {
      const damaged = file.slice();
      damaged[bit >> 3]! ^= 1 << (bit & 7);
      expect(codeOf(() => decodePlan(damaged))).toBe("KVFOLD_PLAN_FILE");
    }
  });

  it("says what is wrong", () => {
    const versioned = file.slice();
    versioned[8] = 7;
    expect(() => decodePlan(versioned)).toThrow("the file has version 7, this kvfold reads version 1");
    expect(() => decodePlan(new TextEncoder().encode("{}"))).toThrow("not a plan file");
    expect(() => decodePlan(file.slice(0, -1))).toThrow("damaged or cut off");
  });
});

/** A file with a right checksum around wrong contents. */
const forged = (change: (sections: Section[]) => Section[]): Uint8Array =>
  packSections(change(planSections(shared)));
const replaced = (tag: string, bytes: Uint8Array): Uint8Array =>
  forged((sections) => [...sections.filter((section) => section.tag !== tag), { tag, bytes }]);
const head = (index: number, value: number): Uint8Array => {
  const words = planSections(shared)[0]!.bytes.slice();
  new DataView(words.buffer).setUint32(4 * index, value, true);
  return replaced("HEAD", words);
};
const text = (value: string): Uint8Array => new TextEncoder().encode(value);

/** Gives a changed file a right checksum. */
function sealed(bytes: Uint8Array): Uint8Array {
  const end = bytes.length - 32;
  const out = bytes.slice();
  out.set(createHash("sha256").update(out.subarray(0, end)).digest(), end);
  return out;
}

describe("a forged file", () => {
  const patched = (at: number, value: number): Uint8Array => {
    const bytes = encodePlan(shared);
    new DataView(bytes.buffer).setUint32(at, value, true);
    return sealed(bytes);
  };

  it.each<[string, () => Uint8Array]>([
    ["an unknown layout", () => head(0, 9)],
    ["no rows", () => head(2, 0)],
    ["other sizes than its arrays", () => head(2, 2)],
    ["dropped tokens beyond 2^53", () => head(4, 2 ** 31)],
    ["an unknown key frame", () => head(7, 5)],
    ["an unknown scope", () => head(8, 5)],
    ["a member out of range", () => replaced("MEMB", new Uint8Array(16).fill(255))],
    ["a part of a word", () => replaced("MEMB", new Uint8Array(15))],
    ["a missing section", () => forged((sections) => sections.slice(1))],
    [
      "an unknown section",
      () => forged((sections) => [...sections, { tag: "EVIL", bytes: new Uint8Array(1) }]),
    ],
    ["a section twice", () => forged((sections) => [...sections, sections[1]!])],
    ["too many sections", () => patched(12, 2 ** 31)],
    ["fewer sections than bytes", () => patched(12, 2)],
    ["a section longer than the file", () => patched(20, 2 ** 31)],
    ["a section of 2^60 bytes", () => patched(24, 2 ** 28)],
    ["metadata that is no JSON", () => replaced("META", text("{"))],
    ["metadata that is no UTF-8", () => replaced("META", Uint8Array.of(255, 254))],
    ["metadata that is a list", () => replaced("META", text("[]"))],
    ["metadata of numbers", () => replaced("META", text('{"a":1}'))],
    ["metadata nested deeply", () => replaced("META", text("[".repeat(100_000)))],
    ["too few pieces", () => replaced("PIEC", text('["a"]'))],
    ["pieces that are numbers", () => replaced("PIEC", text("[1,2,3,4]"))],
  ])("with %s: KVFOLD_PLAN_FILE", (_what, make) => {
    expect(codeOf(() => decodePlan(make()))).toBe("KVFOLD_PLAN_FILE");
  });

  it("is told which section claims more bytes than are left", () => {
    // one byte more than the rest, but far fewer than the whole file
    const last = planSections(shared).at(-1)!;
    const lengthAt = encodePlan(shared).length - 32 - last.bytes.length - 8;
    expect(() => decodePlan(patched(lengthAt, last.bytes.length + 1))).toThrow(
      `claims ${last.bytes.length + 1} bytes, ${last.bytes.length} are left`,
    );
  });

  it("cannot make the reader allocate: limits come first", () => {
    expect(codeOf(() => decodePlan(head(1, 2 ** 31)))).toBe("KVFOLD_PLAN_LIMIT");
    expect(codeOf(() => decodePlan(head(2, 2 ** 31)))).toBe("KVFOLD_PLAN_LIMIT");
    expect(codeOf(() => decodePlan(encodePlan(shared), { cells: 4, entries: 3 }))).toBe("KVFOLD_PLAN_LIMIT");
  });

  it("cannot reach the prototype of objects", () => {
    const { metadata: words } = decodePlan(replaced("META", text('{"__proto__":"x"}')));
    expect(Object.getPrototypeOf(words)).toBe(Object.prototype);
    expect(Object.entries(words)).toEqual([["__proto__", "x"]]);
  });
});

describe("encodePlan", () => {
  it.each<[string, () => unknown, string]>([
    ["an invalid plan", () => encodePlan({ ...shared, dropped: -1 }), "KVFOLD_PLAN_SHAPE"],
    ["metadata of numbers", () => encodePlan(shared, { a: 1 as unknown as string }), "KVFOLD_ARGUMENT"],
    ["pieces of another length", () => encodePlan(shared, {}, ["a"]), "KVFOLD_ARGUMENT"],
    ["too much text", () => encodePlan(shared, { a: "x".repeat(2 ** 26) }), "KVFOLD_PLAN_LIMIT"],
  ])("refuses %s", (_what, call, code) => {
    expect(codeOf(call)).toBe(code);
  });
});

describe("hashPlan", () => {
  it("changes with anything that the plan says", () => {
    const variants = [
      shared,
      { ...shared, positions: Int32Array.of(0, 2, 4) },
      { ...shared, counts: Uint32Array.of(1, 1, 1), dropped: 1 },
      { ...shared, bias: null },
      { ...shared, pins: null },
      { ...shared, keyFrame: "stored" as const },
      { ...shared, keyWeights: shared.valueWeights },
      { ...shared, members: Uint32Array.of(0, 1, 2, 3) },
      composite,
    ];
    expect(new Set(variants.map(hashPlan)).size).toBe(variants.length);
  });

  it("does not see zeros that say nothing", () => {
    const plain = keepPlan(view, [0, 3]);
    expect(hashPlan({ ...plain, bias: new Float32Array(2), pins: new Uint8Array(4) })).toBe(hashPlan(plain));
    expect(codeOf(() => hashPlan({} as never))).toBe("KVFOLD_PLAN_SHAPE");
  });
});
