/** The records of cells against a plain list of cells, through random lives of a sequence. */
import { type CacheShape, createRandom } from "@kvfold/core";
import { composite, fakeShape, fuzz, shared } from "@kvfold/testkit";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createSidecar, foldedRecords, type Sidecar } from "./sidecar.js";

const KV_HEADS = [2, 1];

/** One cell, told in full. */
interface Cell {
  position: number;
  count: number;
  token: number;
  /** [layers][kvHeads] */
  sources: number[][];
}

const layersOf = (cells: number): CacheShape => {
  const { layers } = fakeShape({ layers: 2, kvHeads: 2 });
  return { layers: layers.map((layer, i) => ({ ...layer, kvHeads: KV_HEADS[i]! })), cells };
};

const fresh = (position: number, token: number): Cell => ({
  position,
  count: 1,
  token,
  sources: KV_HEADS.map((heads) => Array<number>(heads).fill(position)),
});

function told(sidecar: Sidecar): Cell[] {
  const { positions, counts, tokens, sources } = sidecar.records();
  const cells = positions.length;
  return Array.from(positions, (position, cell) => ({
    position,
    count: counts[cell]!,
    token: tokens[cell]!,
    sources: KV_HEADS.map((heads, layer) =>
      Array.from({ length: heads }, (_, head) => sources[layer]?.[head * cells + cell] ?? position),
    ),
  }));
}

/** What a composite fold makes of a list of cells, cell by cell. */
function foldList(cells: readonly Cell[], plan: ReturnType<typeof composite>): Cell[] {
  return Array.from({ length: plan.rows }, (_, row) => {
    const member = (layer: number, head: number): Cell =>
      cells[plan.members[(layer * plan.kvHeads + head) * plan.rows + row]!]!;
    const all = KV_HEADS.flatMap((heads, layer) =>
      Array.from({ length: heads }, (_, head) => member(layer, head)),
    );
    return {
      position: plan.positions[row]!,
      count: plan.counts[row]!,
      token: all.every((cell) => cell === all[0]) ? all[0]!.token : -1,
      sources: KV_HEADS.map((heads, layer) =>
        Array.from({ length: heads }, (_, head) => member(layer, head).sources[layer]![head]!),
      ),
    };
  });
}

const step = fc.oneof(
  fc.record({
    kind: fc.constant("read" as const),
    tokens: fc.array(fc.nat(99), { minLength: 1, maxLength: 9 }),
  }),
  fc.record({
    kind: fc.constant("fold" as const),
    keep: fc.double({ min: 0.2, max: 1, noNaN: true }),
    seed: fc.nat(999),
  }),
  fc.record({ kind: fc.constant("drop" as const), cells: fc.nat(5) }),
);

describe("records of cells", () => {
  it("stay those of a plain list", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
        const sidecar = createSidecar(KV_HEADS);
        let list: Cell[] = [];
        for (const now of steps) {
          if (now.kind === "read") {
            const start = sidecar.lastPosition + 1;
            sidecar.append(start, now.tokens, null);
            list = [...list, ...now.tokens.map((token, i) => fresh(start + i, token))];
          } else if (now.kind === "drop") {
            const cells = Math.min(now.cells, sidecar.untouchedTail);
            sidecar.drop(cells);
            list = list.slice(0, list.length - cells);
          } else if (list.length > 1) {
            const shape = layersOf(list.length);
            const random = createRandom(now.seed);
            const orders = Array.from({ length: 4 }, () => list.map(() => random()));
            const records = sidecar.records();
            const plan = composite(
              { ...records, shape },
              { rows: Math.max(1, Math.floor(now.keep * list.length)), orders },
            );
            sidecar.replace(foldedRecords(plan, shape, records));
            list = foldList(list, plan);
          }
          expect(told(sidecar)).toEqual(list);
          expect(sidecar.cells).toBe(list.length);
        }
      }),
      fuzz(200),
    );
  });
});

describe("the untouched tail", () => {
  it("is everything that was read, until a fold", () => {
    const sidecar = createSidecar(KV_HEADS);
    sidecar.append(0, [1, 2, 3, 4, 5, 6], null);
    expect(sidecar.untouchedTail).toBe(6);
    const records = sidecar.records();
    const shape = layersOf(6);
    const plan = shared({ ...records, shape }, { group: [0, 0, 1, 2, 3, 4], logCount: true });
    sidecar.replace(foldedRecords(plan, shape, records));
    expect(sidecar.untouchedTail).toBe(4);
    sidecar.append(6, [9], null);
    expect(sidecar.untouchedTail).toBe(5);
    expect(sidecar.records().bias).toEqual(Float32Array.of(Math.log(2), 0, 0, 0, 0, 0));
  });

  it("ends at a gap between positions", () => {
    const sidecar = createSidecar(KV_HEADS);
    sidecar.append(0, [1, 2], null);
    sidecar.append(5, [3, 4], null);
    expect(sidecar.untouchedTail).toBe(2);
  });
});
