/** All or nothing: faults at every point, aborts, steps out of order. After each the cache has its old bytes. */
import { isKvfoldError, type MergePlan } from "@kvfold/core";
import {
  brokenGuards,
  chooseDestinations,
  copyTarget,
  EXECUTOR_CASES,
  type FakeTarget,
  fakeQueries,
  fakeTarget,
  firstDifference,
} from "@kvfold/testkit";
import { describe, expect, it } from "vitest";
import { createNativeExecutor, type FaultWalk, type NativeBackend } from "./executor.js";
import { memoryFromTarget } from "./memory.js";

const BACKENDS: readonly NativeBackend[] = ["cpu", "reference"];
const walk = (): FaultWalk => ({ prepareAt: null, commitAt: null, preparePoints: 0, commitPoints: 0 });

const codeOf = async (promise: Promise<unknown>): Promise<string> => {
  try {
    await promise;
  } catch (error) {
    return isKvfoldError(error) ? error.code : `not a KvfoldError: ${error}`;
  }
  return "no error";
};

interface Case {
  readonly memory: FakeTarget;
  readonly before: FakeTarget;
  readonly plan: MergePlan;
  readonly destinations: Uint32Array;
}

function caseNamed(pattern: RegExp, kind: "packed" | "anywhere" = "packed"): Case {
  const found = EXECUTOR_CASES.find(({ name }) => pattern.test(name))!;
  const memory = fakeTarget(3, found.memory);
  const plan = found.plan(memory, fakeQueries(3, memory.shape, 64));
  return {
    memory,
    before: copyTarget(memory),
    plan,
    destinations: chooseDestinations(memory, plan.rows, kind),
  };
}

const expectUntouched = ({ before, memory }: Case, when: string): void => {
  expect(firstDifference(before, memory), when).toBeNull();
  expect(brokenGuards(memory), when).toEqual([]);
};

const CASES = [
  /^layers that differ: merged/,
  /^layers that differ: composite/,
  /^q8_0 under Hadamard: re-rotated/,
  /^f16 values transposed: weights/,
];

describe.each(BACKENDS)("%s", (backend) => {
  it.each(CASES)("a fault at any point of a commit can be rolled back: %s", async (pattern) => {
    const one = caseNamed(pattern);
    const faults = walk();
    const executor = createNativeExecutor({ backend, threads: 2, faults });
    const target = memoryFromTarget(one.memory);
    const whole = await executor.prepare(target, one.plan, { destinations: one.destinations });
    await whole.commit();
    const points = faults.commitPoints;
    await whole.rollback();
    whole.dispose();
    expectUntouched(one, "a whole commit, rolled back");
    // of every tensor: before its old rows are saved, and before, while and after its new ones are written
    expect(points).toBeGreaterThanOrEqual(4 * 2 * one.memory.shape.layers.length);
    let written = 0;
    for (let point = 0; point < points; point++) {
      faults.commitAt = point;
      const transaction = await executor.prepare(target, one.plan, { destinations: one.destinations });
      expect(await codeOf(transaction.commit())).toBe("KVFOLD_FAULT");
      if (firstDifference(one.before, one.memory) !== null) written++;
      expect(await codeOf(transaction.commit()), "a second commit").toBe("KVFOLD_NATIVE");
      await transaction.rollback();
      expectUntouched(one, `point ${point}`);
      await transaction.rollback();
      expectUntouched(one, `point ${point}, rolled back twice`);
      transaction.dispose();
    }
    expect(written, "stopped between the first byte and the last").toBeGreaterThan(points / 3);
    faults.commitAt = points;
    const transaction = await executor.prepare(target, one.plan, { destinations: one.destinations });
    await transaction.commit();
    expect(faults.commitPoints).toBe(points);
    transaction.dispose();
  });

  it("a fault at any point of prepare leaves every byte", async () => {
    const one = caseNamed(/^layers that differ: merged/);
    const faults = walk();
    const executor = createNativeExecutor({ backend, faults });
    const target = memoryFromTarget(one.memory);
    const done = await executor.prepare(target, one.plan, { destinations: one.destinations });
    done.dispose();
    expect(faults.preparePoints).toBeGreaterThanOrEqual(2 * 2 * one.memory.shape.layers.length);
    for (let point = 0; point < faults.preparePoints; point++) {
      faults.prepareAt = point;
      const prepared = executor.prepare(target, one.plan, { destinations: one.destinations });
      expect(await codeOf(prepared)).toBe("KVFOLD_FAULT");
      expectUntouched(one, `point ${point}`);
    }
  });

  it("steps out of order are refused", async () => {
    const one = caseNamed(/^f16: members far apart/);
    const executor = createNativeExecutor({ backend });
    const target = memoryFromTarget(one.memory);
    const options = { destinations: one.destinations };

    const rolledBack = await executor.prepare(target, one.plan, options);
    await rolledBack.rollback();
    expect(await codeOf(rolledBack.commit())).toBe("KVFOLD_NATIVE");
    rolledBack.dispose();
    rolledBack.dispose();
    expect(await codeOf(rolledBack.commit())).toBe("KVFOLD_DISPOSED");
    expect(await codeOf(rolledBack.rollback())).toBe("KVFOLD_DISPOSED");
    expectUntouched(one, "nothing was committed");
  });

  it("dispose during a commit waits for it", async () => {
    const one = caseNamed(/^f16: members far apart/);
    const executor = createNativeExecutor({ backend });
    const expected = copyTarget(one.memory);
    const straight = await executor.prepare(memoryFromTarget(expected), one.plan, one);
    await straight.commit();
    const transaction = await executor.prepare(memoryFromTarget(one.memory), one.plan, one);
    const commit = transaction.commit();
    expect(await codeOf(transaction.rollback()), "while committing").toBe("KVFOLD_NATIVE");
    transaction.dispose();
    await commit;
    expect(firstDifference(expected, one.memory)).toBeNull();
    expect(await codeOf(transaction.rollback())).toBe("KVFOLD_DISPOSED");
  });

  it("two folds of one memory, prepared together, commit one after the other", async () => {
    const one = caseNamed(/^f32: weights per head/);
    const executor = createNativeExecutor({ backend, threads: 3 });
    const target = memoryFromTarget(one.memory);
    const [first, second] = await Promise.all([
      executor.prepare(target, one.plan, one),
      executor.prepare(target, one.plan, one),
    ]);
    await first.commit();
    const folded = copyTarget(one.memory);
    await first.rollback();
    expectUntouched(one, "the first, rolled back");
    await second.commit();
    expect(firstDifference(folded, one.memory)).toBeNull();
    first.dispose();
    second.dispose();
  });
});
