/** The reference executor keeps every promise, and executors with planted faults are caught. */
import {
  createReferenceExecutor,
  type Executor,
  KvfoldError,
  type MemoryTarget,
  referenceExecutor,
} from "@kvfold/core";
import { describe, expect, it } from "vitest";
import { EXECUTOR_CASES } from "./executor-cases.js";
import {
  checkFold,
  checkRefusal,
  checkRollback,
  chooseDestinations,
  type ExecutorUnderTest,
} from "./executor-checks.js";
import { fakeQueries } from "./fake-queries.js";
import { fakeTarget } from "./fake-target.js";
import { shared } from "./plans.js";
import { testExecutor } from "./test-executor.js";

const adapt = (memory: MemoryTarget): { target: MemoryTarget } => ({ target: memory });
testExecutor("reference", () => referenceExecutor, adapt, {
  mustSupport: ["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1"],
});

/** Folds as the reference does, and then does one thing wrong. */
function spoiled(
  spoil: Partial<Record<"prepare" | "commit" | "rollback", (target: MemoryTarget) => void>>,
): Executor {
  return {
    ...referenceExecutor,
    name: "spoiled",
    async prepare(target, plan, options) {
      const transaction = await referenceExecutor.prepare(target, plan, options);
      spoil.prepare?.(target);
      return {
        ...transaction,
        async commit() {
          await transaction.commit();
          spoil.commit?.(target);
        },
        async rollback() {
          await transaction.rollback();
          spoil.rollback?.(target);
        },
      };
    },
  };
}

const under = (executor: Executor): ExecutorUnderTest<MemoryTarget> => ({ executor, adapt });
const named = (part: string) => EXECUTOR_CASES.find(({ name }) => name.includes(part))!;

function setUp(part: string, kind: "packed" | "anywhere" = "packed") {
  const one = named(part);
  const memory = fakeTarget(1, one.memory);
  const plan = one.plan(memory, fakeQueries(1, memory.shape, 0));
  return { memory, plan, destinations: chooseDestinations(memory, plan.rows, kind) };
}

/** Runs the checks of one case on an executor. */
async function checks(executor: Executor, part: string): Promise<void> {
  const first = setUp(part);
  await checkFold(under(executor), first.memory, first.plan, first.destinations);
  const second = setUp(part);
  await checkRollback(under(executor), second.memory, second.plan, second.destinations);
}

/** The physical cell of the first row of `pairs, a triple, dropped cells`, and a hole. */
const firstDestination = (memory: MemoryTarget): number => Math.min(...memory.slots);
const hole = (memory: MemoryTarget): number =>
  [...Array(memory.capacity).keys()].find((slot) => !memory.slots.includes(slot))!;
const flip = (bytes: Uint8Array, at: number): void => {
  bytes[at] = bytes[at]! ^ 0x01;
};
const keyRow = (memory: MemoryTarget): number => memory.keys[0]!.length / memory.capacity;

describe("a planted executor is caught when it", () => {
  it("writes while preparing", async () => {
    const executor = spoiled({ prepare: (memory) => flip(memory.keys[0]!, 0) });
    await expect(checks(executor, "f16: pairs")).rejects.toThrow(/after prepare: keys 0/);
  });

  it("touches a cell outside the plan", async () => {
    const executor = spoiled({ commit: (memory) => flip(memory.keys[1]!, hole(memory) * keyRow(memory)) });
    await expect(checks(executor, "f16: pairs")).rejects.toThrow(/cells outside the plan.*keys 1/);
  });

  it("writes behind a buffer", async () => {
    const executor = spoiled({
      commit: ({ values }) =>
        flip(new Uint8Array(values[0]!.buffer), values[0]!.byteOffset + values[0]!.length),
    });
    await expect(checks(executor, "f16: pairs")).rejects.toThrow(/wrote outside of values 0/);
  });

  it("requantises a kept row by one bit", async () => {
    // cell 0 is kept and goes to the first destination; the last bit of an f16 is within the bound of a fold
    const executor = spoiled({
      commit: (memory) => flip(memory.keys[0]!, firstDestination(memory) * keyRow(memory)),
    });
    await expect(checks(executor, "f16: pairs")).rejects.toThrow(
      /kept bytes: keys of layer 0, head 0, row 0/,
    );
  });

  it("is off by more than the bound in a merged row", async () => {
    const executor = spoiled({
      commit: (memory) => {
        // the second row merges two cells: half of its values go missing
        const second = [...memory.slots].sort((a, b) => a - b)[1]!;
        const size = memory.values[0]!.length / memory.capacity;
        memory.values[0]!.fill(0, second * size, second * size + size / 2);
      },
    });
    await expect(checks(executor, "f16: pairs")).rejects.toThrow(
      /values of layer 0, rows against the reference/,
    );
  });

  it("does not put everything back", async () => {
    const executor = spoiled({
      rollback: (memory) => flip(memory.values[1]!, firstDestination(memory) * keyRow(memory)),
    });
    await expect(checks(executor, "f16: pairs")).rejects.toThrow(/after rollback: values 1/);
  });

  it("gives other bytes every time", async () => {
    let run = 0;
    const executor = spoiled({
      commit: (memory) => {
        const second = [...memory.slots].sort((a, b) => a - b)[1]!;
        if (run++ % 2 === 0) flip(memory.keys[0]!, second * keyRow(memory));
      },
    });
    await expect(checks(executor, "f32: pairs")).rejects.toThrow(/a second run on the same memory: keys 0/);
  });

  it("ignores the source map when it re-rotates", async () => {
    const executor: Executor = {
      ...referenceExecutor,
      prepare: (target, plan, options) =>
        referenceExecutor.prepare({ ...target, sources: target.sources.map(() => null) }, plan, options),
    };
    await expect(checks(executor, "from the source map")).rejects.toThrow(/keys of layer 0, rows against/);
  });

  it("ignores the Hadamard rotation when it re-rotates", async () => {
    const executor: Executor = {
      ...referenceExecutor,
      prepare: (target, plan, options) => {
        const layers = target.shape.layers.map((layer) => ({ ...layer, hadamard: { key: 0, value: 0 } }));
        return referenceExecutor.prepare({ ...target, shape: { ...target.shape, layers } }, plan, options);
      },
    };
    await expect(checks(executor, "q8_0 under Hadamard: re-rotated")).rejects.toThrow(
      /keys of layer 0, rows against/,
    );
  });

  it("computes angles in f32", async () => {
    const coarse: Executor = {
      ...referenceExecutor,
      prepare: (target, plan, options) => {
        const layers = target.shape.layers.map((layer) => ({
          ...layer,
          rope: layer.rope && { ...layer.rope, frequencies: layer.rope.frequencies.map(Math.fround) },
        }));
        return referenceExecutor.prepare({ ...target, shape: { ...target.shape, layers } }, plan, options);
      },
    };
    await expect(checks(coarse, "far from the start")).rejects.toThrow(/keys of layer 0, rows against/);
  });

  it("overwrites cells that it still has to read", async () => {
    await expect(checks(inOrder, "f16: everything kept")).resolves.toBeUndefined(); // fine where nothing crosses
    const { memory, plan, destinations } = setUp("f16: members far apart", "packed");
    await expect(checkFold(under(inOrder), memory, plan, destinations)).rejects.toThrow(/layer 0/);
  });

  it("accepts a plan for another cache, or keeps going after an abort", async () => {
    const { memory, plan, destinations } = setUp("f16: pairs");
    const lax: Executor = {
      ...referenceExecutor,
      prepare: async () => ({
        fits: null,
        commit: async () => {},
        rollback: async () => {},
        dispose: () => {},
      }),
    };
    await expect(checkRefusal(under(lax), memory, plan, { destinations })).rejects.toThrow(/accepted/);
  });

  it("refuses with a bare error or another code", async () => {
    const { memory, plan, destinations } = setUp("f16: pairs");
    const throwing = (error: Error): Executor => ({
      ...referenceExecutor,
      prepare: () => Promise.reject(error),
    });
    const bare = checkRefusal(under(throwing(new Error("segmentation fault"))), memory, plan, {
      destinations,
    });
    await expect(bare).rejects.toThrow(/not with a KvfoldError/);
    const other = under(throwing(new KvfoldError("KVFOLD_NATIVE", "no")));
    await expect(checkRefusal(other, memory, plan, { destinations }, "KVFOLD_ABORTED")).rejects.toThrow(
      /should be/,
    );
  });
});

/** Commits row after row without scratch: each row is folded from what the rows before have left. */
const inOrder: Executor = {
  ...referenceExecutor,
  async prepare(target, plan, options) {
    if (plan.layout !== "shared") throw new Error("made for shared plans");
    await referenceExecutor.prepare(target, plan, options);
    const undo: (() => Promise<void>)[] = [];
    const members = [...plan.members];
    return {
      fits: null,
      async commit() {
        for (let row = 0; row < plan.rows; row++) {
          const own = members.slice(plan.offsets[row], plan.offsets[row + 1]);
          const group = Array.from({ length: plan.cells }, (_, cell) => (own.includes(cell) ? 0 : -1));
          const subject = { ...target, counts: new Uint32Array(plan.cells).fill(1), bias: null };
          const one = shared(subject, { group });
          const weights = { scope: "all" as const, data: one.keyWeights.data.slice(0, own.length) };
          const cut = {
            ...{ ...one, rows: 1, keyWeights: weights, valueWeights: weights },
            offsets: one.offsets.slice(0, 2),
            members: one.members.slice(0, own.length),
            ...{ positions: one.positions.slice(0, 1), counts: one.counts.slice(0, 1) },
          };
          const step = await createReferenceExecutor().prepare(target, cut, {
            destinations: options.destinations.slice(row, row + 1),
          });
          await step.commit();
          undo.unshift(() => step.rollback());
        }
      },
      async rollback() {
        for (const step of undo) await step();
      },
      dispose: () => {},
    };
  },
};
