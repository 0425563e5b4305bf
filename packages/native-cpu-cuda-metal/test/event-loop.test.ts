/** Jobs run off the event loop, can be cancelled, and give the same bits for any number of threads. */
import type { MemoryTarget } from "@kvfold/core";
import { copyTarget, firstDifference } from "@kvfold/testkit";
import { describe, expect, it } from "vitest";
import { createNativeExecutor } from "../src/executor.js";
import { memoryFromTarget } from "../src/memory.js";
import { nativeOps } from "../src/ops.js";
import { everyFourth, largeMemory, squeezeByFour } from "./large-memory.js";

const destinations = (rows: number): Uint32Array => Uint32Array.from({ length: rows }, (_, i) => i);

const cells = 4096;
const big = largeMemory({ cells, layers: 6 });
const plan = squeezeByFour(cells);
const options = { destinations: destinations(cells / 4) };

describe("a long prepare", () => {
  it("lets the event loop tick", async () => {
    let ticks = 0;
    const timer = setInterval(() => ticks++, 2);
    const started = performance.now();
    const transaction = await createNativeExecutor({ backend: "reference" }).prepare(
      memoryFromTarget(big),
      plan,
      options,
    );
    const milliseconds = performance.now() - started;
    clearInterval(timer);
    transaction.dispose();
    expect(milliseconds, "long enough to tell").toBeGreaterThan(40);
    // a blocked loop ticks once at the end; on a busy machine a tick may take ten times its interval
    expect(ticks).toBeGreaterThan(Math.max(2, milliseconds / 20));
  });

  it("stops soon after an abort, and changes nothing: reference", async () => {
    const before = copyTarget(big);
    const executor = createNativeExecutor({ backend: "reference", threads: 2 });
    const target = memoryFromTarget(big);
    const whole = performance.now();
    (await executor.prepare(target, plan, options)).dispose();
    const wholeTime = performance.now() - whole;

    const controller = new AbortController();
    const reason = new Error("the user left");
    const prepared = executor.prepare(target, plan, { ...options, signal: controller.signal });
    const refused = expect(prepared).rejects.toMatchObject({ code: "KVFOLD_ABORTED", cause: reason });
    const started = performance.now();
    setTimeout(() => controller.abort(reason), 1);
    await refused;
    // long enough to see that the rest was left out
    expect(performance.now() - started).toBeLessThan(wholeTime / 2);
    expect(firstDifference(before, big)).toBeNull();
  });

  // without a fit there is next to nothing to stop: sums are made by the commit (fits: src/fit.test.ts)
  it("does not begin after an abort, and changes nothing: cpu", async () => {
    const before = copyTarget(big);
    const executor = createNativeExecutor({ backend: "cpu", threads: 2 });
    const reason = new Error("the user left");
    const signal = AbortSignal.abort(reason);
    await expect(executor.prepare(memoryFromTarget(big), plan, { ...options, signal })).rejects.toMatchObject(
      { code: "KVFOLD_ABORTED", cause: reason },
    );
    expect(firstDifference(before, big)).toBeNull();
  });

  it("removes its listener from the signal", async () => {
    const { signal } = new AbortController();
    let listeners = 0;
    const { addEventListener, removeEventListener } = signal;
    signal.addEventListener = (...args: Parameters<typeof addEventListener>) => {
      listeners++;
      addEventListener.apply(signal, args);
    };
    signal.removeEventListener = (...args: Parameters<typeof removeEventListener>) => {
      listeners--;
      removeEventListener.apply(signal, args);
    };
    await nativeOps().keyStats(memoryFromTarget(big), 0, { signal });
    expect(listeners).toBe(0);
  });
});

describe("any number of threads gives the same bits", () => {
  const composite = everyFourth(cells, 6, 4);

  it.each([
    ["shared, re-rotated", plan],
    ["composite", composite],
  ] as const)("fold: %s", async (_name, folded) => {
    const results: MemoryTarget[] = [];
    for (const threads of [1, 2, 3, 4]) {
      const memory = copyTarget(big);
      const executor = createNativeExecutor({ threads });
      const transaction = await executor.prepare(memoryFromTarget(memory), folded, options);
      await transaction.commit();
      results.push(memory);
      if (threads === 4) {
        await transaction.rollback();
        expect(firstDifference(big, memory), "rolled back by 4 threads").toBeNull();
        results.pop();
      }
      transaction.dispose();
    }
    for (const other of results.slice(1)) {
      for (const side of ["keys", "values"] as const) {
        other[side].forEach((bytes, layer) => {
          expect(Buffer.compare(bytes, results[0]![side][layer]!), `${side} of layer ${layer}`).toBe(0);
        });
      }
    }
  });

  it("key statistics and rows", async () => {
    const target = memoryFromTarget(big);
    const one = nativeOps({ threads: 1 });
    const stats = await one.keyStats(target, 2);
    const keys = await one.keys(target, 2, "unrotated");
    for (const threads of [2, 3, 4]) {
      const ops = nativeOps({ threads });
      expect(await ops.keyStats(target, 2)).toEqual(stats);
      expect(
        Buffer.compare(
          Buffer.from((await ops.keys(target, 2, "unrotated")).buffer),
          Buffer.from(keys.buffer),
        ),
      ).toBe(0);
    }
  });
});
