/** Plans and targets that lie: each gives a typed error, and no byte changes. */
import type { MergePlan } from "@kvfold/core";
import { checkRefusal, composite, fakeShape, shared } from "@kvfold/testkit";
import { describe, it } from "vitest";
import { type Change, destinations, memory, plan, put, under, withSpoiledTarget } from "./hostile-setup.js";

const refused = (spoiled: unknown, code: string): Promise<void> =>
  checkRefusal(under, memory, spoiled as MergePlan, { destinations }, code);

describe("plans", () => {
  const weights = (value: number) => ({ ...plan.keyWeights, data: put(plan.keyWeights.data, 3, value) });
  it.each<[string, unknown, string]>([
    ["null", null, "KVFOLD_PLAN_SHAPE"],
    ["another version", { ...plan, version: 2 }, "KVFOLD_PLAN_SHAPE"],
    ["another layout", { ...plan, layout: "spiral" }, "KVFOLD_PLAN_SHAPE"],
    ["another key frame", { ...plan, keyFrame: "moon" }, "KVFOLD_PLAN_SHAPE"],
    ["no weights", { ...plan, keyWeights: undefined }, "KVFOLD_PLAN_SHAPE"],
    [
      "weights of another scope",
      { ...plan, keyWeights: { ...plan.keyWeights, scope: "cell" } },
      "KVFOLD_PLAN_SHAPE",
    ],
    ["members of another class", { ...plan, members: Int32Array.from(plan.members) }, "KVFOLD_PLAN_SHAPE"],
    ["an array for members", { ...plan, members: [...plan.members] }, "KVFOLD_PLAN_SHAPE"],
    [
      "no rows",
      { ...plan, rows: 0, positions: new Int32Array(0), counts: new Uint32Array(0) },
      "KVFOLD_PLAN_SHAPE",
    ],
    ["rows of 2^32", { ...plan, rows: 2 ** 32 }, "KVFOLD_PLAN_SHAPE"],
    ["half a row", { ...plan, rows: 2.5 }, "KVFOLD_PLAN_SHAPE"],
    ["offsets short", { ...plan, offsets: plan.offsets.slice(1) }, "KVFOLD_PLAN_SHAPE"],
    ["offsets past the members", { ...plan, offsets: put(plan.offsets, 3, 0xffffffff) }, "KVFOLD_PLAN_SHAPE"],
    [
      "weights of scope head, too short",
      { ...plan, valueWeights: { ...plan.valueWeights, scope: "head" } },
      "KVFOLD_PLAN_SHAPE",
    ],
    ["NaN dropped", { ...plan, dropped: Number.NaN }, "KVFOLD_PLAN_SHAPE"],
    ["NaN weight", { ...plan, keyWeights: weights(Number.NaN) }, "KVFOLD_PLAN_WEIGHT"],
    ["infinite weight", { ...plan, keyWeights: weights(Number.NEGATIVE_INFINITY) }, "KVFOLD_PLAN_WEIGHT"],
    ["a member out of range", { ...plan, members: put(plan.members, 0, 12) }, "KVFOLD_PLAN_MEMBER_RANGE"],
    ["a member twice", { ...plan, members: put(plan.members, 0, 11) }, "KVFOLD_PLAN_NOT_DISJOINT"],
    ["positions fall", { ...plan, positions: put(plan.positions, 0, 1000) }, "KVFOLD_PLAN_ORDER"],
    ["a negative position", { ...plan, positions: put(plan.positions, 0, -1) }, "KVFOLD_PLAN_ORDER"],
    ["no position left", { ...plan, positions: put(plan.positions, 5, 0x7fffffff) }, "KVFOLD_PLAN_ORDER"],
    ["a row of no token", { ...plan, counts: put(plan.counts, 2, 0) }, "KVFOLD_PLAN_COUNTS"],
    ["fewer tokens than cells", { ...plan, counts: put(plan.counts, 2, 1) }, "KVFOLD_PLAN_COUNTS"],
    ["bias of 16", { ...plan, bias: put(new Float32Array(6), 1, -16) }, "KVFOLD_PLAN_BIAS"],
    ["bias of NaN", { ...plan, bias: put(new Float32Array(6), 1, Number.NaN) }, "KVFOLD_PLAN_BIAS"],
    ["an unknown pin level", { ...plan, pins: new Uint8Array(12).fill(4, 3, 4) }, "KVFOLD_PLAN_PIN"],
    ["a merged cell pinned exactly", { ...plan, pins: new Uint8Array(12).fill(3, 3, 4) }, "KVFOLD_PLAN_PIN"],
    [
      "a merged cell with its key pinned",
      { ...plan, pins: new Uint8Array(12).fill(2, 3, 4) },
      "KVFOLD_PLAN_PIN",
    ],
  ])("%s", (_name, broken, code) => refused(broken, code));

  it("a key pin that a re-rotation breaks", () => {
    const turned = shared(memory, { group: [...Array(12).keys()], squeeze: 2 });
    return refused({ ...turned, pins: new Uint8Array(12).fill(2, 11) }, "KVFOLD_PLAN_PIN");
  });

  describe("composite", () => {
    const orders = Array.from({ length: 4 }, (_, head) =>
      Array.from({ length: 12 }, (_, c) => (c * 5 + head) % 12),
    );
    const good = composite(memory, { rows: 4, orders });
    it.each<[string, unknown, string]>([
      ["of more layers", { ...good, layers: 3 }, "KVFOLD_PLAN_SHAPE"],
      ["of 2^32 heads", { ...good, kvHeads: 2 ** 32 }, "KVFOLD_PLAN_SHAPE"],
      ["sizes whose product wraps", { ...good, layers: 2 ** 31, kvHeads: 2 ** 31 }, "KVFOLD_PLAN_SHAPE"],
      ["members short", { ...good, members: good.members.slice(4) }, "KVFOLD_PLAN_SHAPE"],
      [
        "a member out of range",
        { ...good, members: put(good.members, 9, 0xffffffff) },
        "KVFOLD_PLAN_MEMBER_RANGE",
      ],
      [
        "a cell twice in a head",
        { ...good, members: put(good.members, 5, good.members[4]!) },
        "KVFOLD_PLAN_NOT_DISJOINT",
      ],
      [
        "heads that a layer lacks do not repeat head 0",
        {
          ...good,
          members: put(good.members, 12, [0, 1, 2, 3, 4].find((c) => !good.members.slice(8).includes(c))!),
        },
        "KVFOLD_PLAN_SHAPE",
      ],
      ["a pinned cell missing in a head", { ...good, pins: new Uint8Array(12).fill(1) }, "KVFOLD_PLAN_PIN"],
    ])("%s", (_name, broken, code) => refused(broken, code));
  });
});

describe("targets", () => {
  it.each<[string, Change]>([
    ["a slot out of range", ({ slots }) => ({ slots: put(slots, 2, 0xffffffff) })],
    ["a slot twice", ({ slots }) => ({ slots: put(slots, 2, slots[3]!) })],
    ["slots of another class", ({ slots }) => ({ slots: [...slots] })],
    ["a slot missing", ({ slots }) => ({ slots: slots.slice(1) })],
    ["positions missing", () => ({ positions: new Int32Array(0) })],
    ["sources for one layer only", () => ({ sources: [null] })],
    ["a source map too short", () => ({ sources: [null, new Int32Array(11)] })],
    ["sources undefined", () => ({ sources: undefined })],
    ["a shape of another cache", () => ({ shape: fakeShape({ cells: 12, layers: 2, kvHeads: 3 }) })],
  ])("%s", (_name, change) =>
    checkRefusal(withSpoiledTarget(change), memory, plan, { destinations }, "KVFOLD_ARGUMENT"),
  );

  it("slots whose buffer was transferred away", () => {
    const gone = withSpoiledTarget(({ slots }) => {
      const own = slots.slice();
      structuredClone(own.buffer, { transfer: [own.buffer] });
      return { slots: own };
    });
    return checkRefusal(gone, memory, plan, { destinations }, "KVFOLD_ARGUMENT");
  });

  it.each<[string, unknown]>([
    ["numbers", [0, 1, 2, 3, 4, 5]],
    ["nothing", undefined],
  ])("destinations that are %s", (_name, wrong) =>
    checkRefusal(under, memory, plan, { destinations: wrong as Uint32Array }, "KVFOLD_ARGUMENT"),
  );
});
