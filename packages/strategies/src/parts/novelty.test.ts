/** What pins of all heads are chosen by, by hand. */
import { expect, it } from "vitest";
import { tinyContext, tinyView } from "../../test/tiny.js";
import { mostRepeated, novelty } from "./novelty.js";

const free = Uint32Array.of(0, 1, 2, 3, 4);
const rounded = (values: Float32Array): number[] => [...values].map((value) => Math.round(value * 100) / 100);

it("is the largest rank of key and surprise, of three neighbours", async () => {
  const heads = [Float32Array.of(9, 1, 2, 0, 0), Float32Array.of(2, 0, 8, 0, 1)];
  const view = await tinyView({ cells: 5, heads: [2] });
  // ranks of the heads 1 .5 .75 0 0 and .75 0 1 0 .5: the largest are 1 .5 1 0 .5, on average a and c are equal
  const keydiff = (_layer: number, head: number): Float32Array => heads[head]!;
  const given = { keydiff, who: "test" };
  const calm = new Float32Array(5);
  expect(rounded(await novelty(view, tinyContext(5), free, { ...given, surprise: calm }))).toEqual([
    0.75, 0.75, 0.75, 0.75, 0.25,
  ]);
  // the token at e is a surprise, and so is its neighbour
  const surprise = Float32Array.of(1, 1, 1, 1, 9);
  expect(rounded(await novelty(view, tinyContext(5), free, { ...given, surprise }))).toEqual([
    0.75, 0.75, 0.75, 1, 1,
  ]);
});

it("of many heads that each have a favourite, prefers the favourite that others like too", async () => {
  const heads = [
    [9, 0, 1, 0, 5],
    [5, 0, 1, 0, 9],
    [5, 0, 9, 0, 1],
    [9, 0, 1, 0, 5],
  ].map((scores) => Float32Array.from(scores));
  const view = await tinyView({ cells: 5, heads: [2, 2] });
  const keydiff = (layer: number, head: number): Float32Array => heads[2 * layer + head]!;
  const ranked = await novelty(view, tinyContext(5), Uint32Array.of(0, 2, 4), {
    keydiff,
    surprise: new Float32Array(5),
    who: "test",
  });
  // a, c and e are each the first of some head; on average a comes first, then e, then c
  expect(rounded(ranked)).toEqual([1, 1, 0, 0.5, 0.5]);
});

it("gives cells outside the choice no rank, and unknown tokens the lowest", async () => {
  const view = await tinyView({ cells: 5 });
  const keydiff = (): Float32Array => Float32Array.of(99, 1, 2, 3, 99);
  const surprise = Float32Array.of(99, Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY, 1, 99);
  const ranked = await novelty(view, tinyContext(5), Uint32Array.of(1, 2, 3), {
    keydiff,
    surprise,
    who: "test",
  });
  expect(rounded(ranked)).toEqual([0, 0.5, 1, 1, 1]);
});

it("takes attention of a second reading as it is, of any head and three neighbours", async () => {
  const view = await tinyView({ cells: 5, heads: [1, 2] });
  const layers = [
    [[0.1, 0, 0, 0, 0]],
    [
      [0, 0, 0, 0, 0.3],
      [0, 0.2, 0, 0, 0],
    ],
  ];
  const repeat = (layer: number, head: number): Float32Array => Float32Array.from(layers[layer]![head]!);
  expect(rounded(mostRepeated(view, tinyContext(5), repeat))).toEqual([0.2, 0.2, 0.2, 0.3, 0.3]);
});
