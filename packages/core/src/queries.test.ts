/** Sampled queries: turned to the future, hashed, refused when they do not fit. */
import { expect, test } from "vitest";
import { decodeF16, encodeF16 } from "./dtype/half.js";
import { futurePosition, futureQueries, hashQueries, type QuerySample } from "./queries.js";
import { rotateHead, rotationBy } from "./rope.js";
import type { LayerShape } from "./shape.js";

const layer: LayerShape = {
  layer: 0,
  kvHeads: 2,
  queryHeads: 4,
  keyDim: 4,
  valueDim: 4,
  keyType: "f16",
  valueType: "f16",
  valueLayout: "rows",
  rope: { pairing: "interleaved", dims: 4, frequencies: Float64Array.of(1, 0.1) },
  hadamard: { key: 0, value: 0 },
  window: null,
};

function sampleOf(contents: Float64Array[], positions: number[]): QuerySample {
  const rows = new Uint16Array(positions.length * 4 * 4);
  positions.forEach((position, index) => {
    for (let head = 0; head < 4; head++) {
      const rotated = contents[head]!.slice();
      rotateHead(rotated, 0, layer.rope!, rotationBy(layer.rope!, position));
      rotated.forEach((value, i) => {
        rows[(index * 4 + head) * 4 + i] = encodeF16(value);
      });
    }
  });
  const bare = { positions: Int32Array.from(positions), layers: [{ heads: 4, scale: 0.5, rows }] };
  return { ...bare, hash: hashQueries(bare) };
}

const contents = [0, 1, 2, 3].map((head) => Float64Array.of(1 + head, -0.5, 0.25 * head, 2));

test("a query of any position becomes the same query at its future position", () => {
  const sample = sampleOf(contents, [3, 70]);
  const options = { last: 99, horizon: 1 };
  const rows = futureQueries(sample, 0, layer, 1, options);
  for (let index = 0; index < 2; index++) {
    for (let head = 0; head < 2; head++) {
      const want = contents[2 + head]!.slice();
      rotateHead(want, 0, layer.rope!, rotationBy(layer.rope!, futurePosition(index, options)));
      // f16 keeps 11 bits; two channels mix in the rotation
      const bound = 2 * 2 ** -11 * 5 * 0.5;
      want.forEach((value, i) => {
        expect(Math.abs(rows[(index * 2 + head) * 4 + i]! - value * 0.5)).toBeLessThan(bound);
      });
    }
  }
});

test("future positions lie right after the context and are spread over the horizon", () => {
  const seen = new Set(Array.from({ length: 512 }, (_, i) => futurePosition(i, { last: 10 })));
  expect(seen.size).toBe(512);
  expect(Math.min(...seen)).toBe(11);
  expect(Math.max(...seen)).toBe(522);
});

test("a sample that does not fit the layer is refused", () => {
  const sample = sampleOf(contents, [3]);
  expect(() => futureQueries(sample, 0, { ...layer, keyDim: 8 }, 0, { last: 1 })).toThrow(/does not fit/);
  expect(() => futureQueries(sample, 1, layer, 0, { last: 1 })).toThrow(/does not fit/);
});

test("the hash follows the content", () => {
  const sample = sampleOf(contents, [3, 70]);
  expect(hashQueries(sample)).toBe(sample.hash);
  const rows = sample.layers[0]!.rows.slice();
  rows[0] = encodeF16(decodeF16(rows[0]!) + 1);
  expect(hashQueries({ ...sample, layers: [{ ...sample.layers[0]!, rows }] })).not.toBe(sample.hash);
});
