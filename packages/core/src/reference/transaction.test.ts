/** An interruption at any step leaves every byte as it was. */
import { describe, expect, it } from "vitest";
import { rejectedCode, smallCache, smallLayer, snapshot } from "../../test/small-cache.js";
import { KvfoldError } from "../errors.js";
import { sharedPlan } from "../plan/builder.js";
import type { MergePlan } from "../plan/plan.js";
import { createReferenceExecutor } from "./executor.js";
import type { FoldStep } from "./transaction.js";

const layers = [
  smallLayer({ keyType: "q8_0", valueType: "f16", valueLayout: "transposed" }),
  smallLayer({ keyType: "f16", valueType: "q4_0", kvHeads: 1 }),
];
const rows = [
  { members: [0], position: 0 },
  { members: [5, 1], position: 5 },
  { members: [2, 7], position: 7 },
];
const destinations = Uint32Array.of(1, 3, 9);

/** A fold over scattered physical cells, whose destinations are sources of other rows. */
async function setUp(fault: (step: FoldStep) => void) {
  const cache = smallCache({ layers, slots: Uint32Array.of(3, 1, 0, 9, 8, 2, 5, 4) });
  const view = await cache.lease();
  const plan: MergePlan = sharedPlan(view, rows, { keyFrame: "target" });
  const executor = createReferenceExecutor({ fault });
  return {
    cache,
    before: snapshot(cache),
    prepare: () => executor.prepare(cache.memory(), plan, { destinations }),
  };
}

const injected = new KvfoldError("KVFOLD_FAULT", "injected");

/** Steps of the fold above: layers x (keys and values) x rows. */
const COMMIT_STEPS = 2 * 2 * rows.length;

describe("commit and rollback", () => {
  it("has the steps that the tests below count on", async () => {
    const steps: FoldStep[] = [];
    const { prepare } = await setUp((step) => steps.push(step));
    const transaction = await prepare();
    expect(steps.filter(({ phase }) => phase === "prepare")).toHaveLength(COMMIT_STEPS);
    await transaction.commit();
    expect(steps.filter(({ phase }) => phase === "commit")).toHaveLength(COMMIT_STEPS);
  });

  it("undoes a whole commit", async () => {
    const { cache, before, prepare } = await setUp(() => {});
    const transaction = await prepare();
    await transaction.commit();
    expect(snapshot(cache)).not.toEqual(before);
    await transaction.rollback();
    expect(snapshot(cache)).toEqual(before);
    await transaction.rollback();
    expect(snapshot(cache)).toEqual(before);
  });

  it.each(Array.from({ length: COMMIT_STEPS }, (_, step) => step))(
    "undoes a commit interrupted at step %i",
    async (at) => {
      let step = 0;
      const { cache, before, prepare } = await setUp(({ phase }) => {
        if (phase === "commit" && step++ === at) throw injected;
      });
      const transaction = await prepare();
      expect(await rejectedCode(transaction.commit())).toBe("KVFOLD_FAULT");
      // all but the first interruption come after a write
      if (at > 0) expect(snapshot(cache)).not.toEqual(before);
      await transaction.rollback();
      expect(snapshot(cache)).toEqual(before);
    },
  );

  it.each([0, 1, 5, COMMIT_STEPS - 1])("goes on with a rollback interrupted at step %i", async (at) => {
    let step = 0;
    const { cache, before, prepare } = await setUp(({ phase }) => {
      if (phase === "rollback" && step++ === at) throw injected;
    });
    const transaction = await prepare();
    await transaction.commit();
    expect(await rejectedCode(transaction.rollback())).toBe("KVFOLD_FAULT");
    await transaction.rollback();
    expect(snapshot(cache)).toEqual(before);
  });

  it.each([0, 3, COMMIT_STEPS - 1])("prepares all or nothing, interrupted at row %i", async (at) => {
    let step = 0;
    const { cache, before, prepare } = await setUp(({ phase }) => {
      if (phase === "prepare" && step++ === at) throw injected;
    });
    expect(await rejectedCode(prepare())).toBe("KVFOLD_FAULT");
    expect(snapshot(cache)).toEqual(before);
  });

  it("refuses steps out of turn", async () => {
    const { prepare } = await setUp(() => {});
    const transaction = await prepare();
    await transaction.commit();
    expect(await rejectedCode(transaction.commit())).toBe("KVFOLD_INTERNAL");
    transaction.dispose();
    transaction.dispose();
    expect(await rejectedCode(transaction.rollback())).toBe("KVFOLD_DISPOSED");
    expect(await rejectedCode(transaction.commit())).toBe("KVFOLD_DISPOSED");
  });
});
