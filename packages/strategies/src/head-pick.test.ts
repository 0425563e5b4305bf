/** head-pick: head h takes member h mod N. */
import { fold, type SharedPlan } from "@kvfold/core";
import { expect, it } from "vitest";
import { draw, tinyCache, tinyContext, tinyView } from "../test/tiny.js";
import { headPick } from "./head-pick.js";

/** Weights of each layer and head, as `1 0 0 1 1`. */
const heads = ({ keyWeights, members }: SharedPlan): string[] =>
  Array.from({ length: keyWeights.data.length / members.length }, (_, head) =>
    keyWeights.data.subarray(head * members.length, (head + 1) * members.length).join(" "),
  );

it("gives each head one member, another for each up to the ratio", async () => {
  const made = (await headPick().plan(
    await tinyView({ cells: 7, heads: [4] }),
    tinyContext(7, { ratio: 3 }),
  )) as SharedPlan;
  expect(draw(made)).toBe("[abc]@0 [def]@1 g@2");
  expect(made.keyWeights.scope).toBe("head");
  expect(heads(made)).toEqual(["1 0 0 1 0 0 1", "0 1 0 0 1 0 1", "0 0 1 0 0 1 1", "1 0 0 1 0 0 1"]);
  expect([...made.valueWeights.data]).toEqual([...made.keyWeights.data]);
});

it("takes the last member where a group is smaller", async () => {
  const made = (await headPick().plan(
    await tinyView({ cells: 5, heads: [3] }),
    tinyContext(5, { ratio: 3 }),
  )) as SharedPlan;
  expect(draw(made)).toBe("[abc]@0 [de]@1");
  expect(heads(made)).toEqual(["1 0 0 1 0", "0 1 0 0 1", "0 0 1 0 1"]);
});

it("keeps the chosen values in the cache", async () => {
  const cache = tinyCache({ cells: 4, heads: [2, 1] });
  await fold(cache, { strategy: headPick(), keep: { ratio: 2 } });
  const lease = await cache.lease();
  const first = await lease.values(0);
  // head 0 keeps a and c, head 1 b and d; channel 0 of the cells is 0 1 2 3
  expect([first[0], first[4], first[8], first[12]]).toEqual([0, 2, 1, 3]);
  const second = await lease.values(1);
  expect([second[0], second[4]]).toEqual([0, 2]);
});
