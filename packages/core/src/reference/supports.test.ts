/** What the reference executor refuses, and that it says why. */
import { describe, expect, it } from "vitest";
import { LAYER_KINDS, type LayerChange } from "../../test/layer-kinds.js";
import { rejectedCode, smallCache, smallLayer, snapshot } from "../../test/small-cache.js";
import { identityPlan, keepPlan } from "../plan/keep.js";
import { createReferenceExecutor, referenceExecutor } from "./executor.js";

describe("supports", () => {
  it.each<[string, LayerChange, string]>([
    ["half a block in a head", { keyType: "q8_0", keyDim: 48 }, "not a whole number of q8_0 blocks of 32"],
    [
      "transposed blocks",
      { valueType: "q8_0", valueLayout: "transposed" },
      "transposed values cannot be stored as q8_0",
    ],
    ["an odd Hadamard block", { hadamard: { key: 0, value: 24 } }, "Hadamard blocks of 24"],
    [
      "too few frequencies",
      { rope: { pairing: "half", dims: 32, frequencies: new Float64Array(3) } },
      "16 finite frequencies",
    ],
    [
      "more rotated than there are",
      { rope: { pairing: "half", dims: 64, frequencies: new Float64Array(32) } },
      "64 of 32 channels",
    ],
    ["no heads", { kvHeads: 0 }, "positive whole numbers"],
  ])("refuses %s with a reason", (_what, change, reason) => {
    expect(referenceExecutor.supports({ layers: [smallLayer(change)], cells: 4 })).toContain(reason);
  });

  it.each(LAYER_KINDS)("accepts %s", (_what, change) => {
    expect(referenceExecutor.supports({ layers: [smallLayer(change)], cells: 4 })).toBe(true);
  });
});

describe("prepare", () => {
  const cache = smallCache();
  const target = cache.memory();
  const prepare = async (
    change: Partial<typeof target>,
    destinations: Uint32Array = Uint32Array.of(0, 1),
    signal?: AbortSignal,
  ) => {
    const view = await smallCache().lease();
    const plan = keepPlan(view, [0, 7]);
    return referenceExecutor.prepare(
      { ...target, ...change },
      plan,
      signal ? { destinations, signal } : { destinations },
    );
  };

  it.each<[string, Partial<typeof target>, Uint32Array]>([
    ["short keys", { keys: [new Uint8Array(5)] }, Uint32Array.of(0, 1)],
    ["missing values", { values: [] }, Uint32Array.of(0, 1)],
    ["slots outside", { slots: new Uint32Array(8).map((_, i) => 10 + i) }, Uint32Array.of(0, 1)],
    ["slots twice", { slots: new Uint32Array(8) }, Uint32Array.of(0, 1)],
    ["too few positions", { positions: new Int32Array(3) }, Uint32Array.of(0, 1)],
    ["a short source map", { sources: [new Int32Array(3)] }, Uint32Array.of(0, 1)],
    ["a destination outside", {}, Uint32Array.of(0, 16)],
    ["a destination twice", {}, Uint32Array.of(1, 1)],
    ["destinations that fall", {}, Uint32Array.of(1, 0)],
    ["too few destinations", {}, Uint32Array.of(1)],
  ])("refuses %s", async (_what, change, destinations) => {
    expect(await rejectedCode(prepare(change, destinations))).toBe("KVFOLD_ARGUMENT");
  });

  it("refuses a plan for another cache", async () => {
    const other = await smallCache({ cells: 5 }).lease();
    const work = referenceExecutor.prepare(target, identityPlan(other), {
      destinations: Uint32Array.of(0, 1, 2, 3, 4),
    });
    expect(await rejectedCode(work)).toBe("KVFOLD_PLAN_SHAPE");
  });

  it("stops when the caller cancels, before and in between", async () => {
    expect(await rejectedCode(prepare({}, undefined, AbortSignal.abort()))).toBe("KVFOLD_ABORTED");
    const controller = new AbortController();
    const executor = createReferenceExecutor({ fault: ({ row }) => row === 1 && controller.abort() });
    const view = await smallCache().lease();
    const options = { destinations: Uint32Array.of(0, 1), signal: controller.signal };
    const before = snapshot(cache);
    expect(await rejectedCode(executor.prepare(target, keepPlan(view, [0, 7]), options))).toBe(
      "KVFOLD_ABORTED",
    );
    expect(snapshot(cache)).toEqual(before);
  });
});
