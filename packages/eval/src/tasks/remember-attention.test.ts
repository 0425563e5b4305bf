/** Attention over the same cells is asked of the cache once, for each layer and set of options. */
import type { AttendStats, KvCache } from "@kvfold/core";
import { expect, test, vi } from "vitest";
import { rememberingAttention } from "./remember-attention.js";

const stats = (value: number): AttendStats => {
  const row = Float32Array.of(value);
  return { maximum: row, mean: row, rms: row };
};

function cacheWith(attend: KvCache["ops"]["attend"]): KvCache {
  return {
    ...{ name: "fake", tokensSeen: 7, shape: { layers: [], cells: 3 } },
    ops: { attend, keyStats: vi.fn() },
    lease: vi.fn(),
    apply: vi.fn(),
  };
}

test("the same question is asked once, another one again", async () => {
  let count = 0;
  const attend = vi.fn(async () => stats(count++));
  const cache = rememberingAttention(cacheWith(attend));
  const view = {} as Parameters<typeof attend>[never];
  const first = await cache.ops.attend(view, 0, { horizon: 512, maxRows: 64 });
  expect(await cache.ops.attend(view, 0, { horizon: 512, maxRows: 64 })).toBe(first);
  expect(attend).toHaveBeenCalledTimes(1);
  await cache.ops.attend(view, 1, { horizon: 512, maxRows: 64 });
  await cache.ops.attend(view, 0, { horizon: 8, maxRows: 64 });
  await cache.ops.attend(view, 0, { horizon: 512 });
  const queries = { positions: Int32Array.of(1), layers: [], hash: "other" };
  await cache.ops.attend(view, 0, { horizon: 512, maxRows: 64, queries });
  expect(attend).toHaveBeenCalledTimes(5);
  expect(cache).toMatchObject({ name: "fake", tokensSeen: 7, shape: { cells: 3 } });
});

test("a question that failed is asked again", async () => {
  const attend = vi.fn(async () => stats(1)).mockRejectedValueOnce(new Error("cancelled"));
  const cache = rememberingAttention(cacheWith(attend));
  const view = {} as Parameters<typeof attend>[never];
  await expect(cache.ops.attend(view, 0)).rejects.toThrow("cancelled");
  expect((await cache.ops.attend(view, 0)).rms).toEqual(Float32Array.of(1));
});
