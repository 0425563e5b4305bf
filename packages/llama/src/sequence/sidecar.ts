/**
 * What llama.cpp does not keep of a cell: tokens inside, bias, token id, surprise, and where each key was rotated.
 *
 *     cells that a fold left          cells appended since
 *     [ frozen arrays ............ ]  [ tail: position, token, log-probability ]
 *
 * Appending a token must not cost a copy of the arrays, so the two are joined only when somebody looks.
 */
import {
  type CacheShape,
  type MergePlan,
  nextBias,
  nextSources,
  nextTokenLogProbs,
  nextTokens,
} from "@kvfold/core";

/** All cells of a sequence in view order: by position, ties by physical cell. Never written to. */
export interface CellRecords {
  /** [cells] */
  readonly positions: Int32Array;
  /** [cells] */
  readonly counts: Uint32Array;
  /** [cells] or null when all are zero */
  readonly bias: Float32Array | null;
  /** -1 where a cell is not one token. [cells] */
  readonly tokens: Int32Array;
  /** NaN where unknown. [cells] */
  readonly logProbs: Float32Array;
  /** Per layer: [kvHeads, cells], or null for the positions. */
  readonly sources: readonly (Int32Array | null)[];
}

export interface Sidecar {
  readonly cells: number;
  /** The largest position, -1 when empty. */
  readonly lastPosition: number;
  /** Cells at the end that no fold has touched and whose positions follow each other. */
  readonly untouchedTail: number;
  append(start: number, tokens: ArrayLike<number>, logProbs: Float32Array | null): void;
  records(): CellRecords;
  /** Takes the place of everything. */
  replace(records: CellRecords): void;
  /** Drops the last cells. */
  drop(cells: number): void;
}

const empty = (layers: number): CellRecords => ({
  positions: new Int32Array(0),
  counts: new Uint32Array(0),
  bias: null,
  tokens: new Int32Array(0),
  logProbs: new Float32Array(0),
  sources: Array.from({ length: layers }, () => null),
});

/** Cells without any record of them. */
export const noCells: (layers: number) => CellRecords = empty;

/** @param kvHeads of every layer */
export function createSidecar(kvHeads: readonly number[]): Sidecar {
  let frozen = empty(kvHeads.length);
  let tail: { positions: number[]; tokens: number[]; logProbs: number[] } = {
    positions: [],
    tokens: [],
    logProbs: [],
  };
  const join = (): CellRecords => {
    if (tail.positions.length === 0) return frozen;
    frozen = joined(frozen, tail, kvHeads);
    tail = { positions: [], tokens: [], logProbs: [] };
    return frozen;
  };
  return {
    get cells() {
      return frozen.positions.length + tail.positions.length;
    },
    get lastPosition() {
      return tail.positions.at(-1) ?? frozen.positions.at(-1) ?? -1;
    },
    get untouchedTail() {
      return untouchedTail(join(), kvHeads);
    },
    append(start, tokens, logProbs) {
      for (let i = 0; i < tokens.length; i++) {
        tail.positions.push(start + i);
        tail.tokens.push(tokens[i]!);
        tail.logProbs.push(logProbs?.[i] ?? Number.NaN);
      }
    },
    records: join,
    replace(records) {
      frozen = records;
      tail = { positions: [], tokens: [], logProbs: [] };
    },
    drop(cells) {
      frozen = firstCells(join(), frozen.positions.length - cells, kvHeads);
    },
  };
}

function joined(
  frozen: CellRecords,
  tail: { positions: number[]; tokens: number[]; logProbs: number[] },
  kvHeads: readonly number[],
): CellRecords {
  const before = frozen.positions.length;
  const cells = before + tail.positions.length;
  const extend = <T extends Int32Array | Uint32Array | Float32Array>(
    into: T,
    from: T,
    added: ArrayLike<number>,
  ): T => {
    into.set(from, 0);
    into.set(added, before);
    return into;
  };
  const ones = new Uint32Array(tail.positions.length).fill(1);
  return {
    positions: extend(new Int32Array(cells), frozen.positions, tail.positions),
    counts: extend(new Uint32Array(cells), frozen.counts, ones),
    bias: frozen.bias && extend(new Float32Array(cells), frozen.bias, []),
    tokens: extend(new Int32Array(cells), frozen.tokens, tail.tokens),
    logProbs: extend(new Float32Array(cells), frozen.logProbs, tail.logProbs),
    sources: frozen.sources.map((map, layer) => {
      if (map === null) return null;
      return eachHead(kvHeads[layer]!, cells, (head, into) => {
        into.set(map.subarray(head * before, (head + 1) * before), 0);
        into.set(tail.positions, before);
      });
    }),
  };
}

function eachHead(
  kvHeads: number,
  cells: number,
  fill: (head: number, into: Int32Array) => void,
): Int32Array {
  const map = new Int32Array(kvHeads * cells);
  for (let head = 0; head < kvHeads; head++) fill(head, map.subarray(head * cells, (head + 1) * cells));
  return map;
}

function firstCells(records: CellRecords, cells: number, kvHeads: readonly number[]): CellRecords {
  const before = records.positions.length;
  return {
    positions: records.positions.slice(0, cells),
    counts: records.counts.slice(0, cells),
    bias: records.bias?.slice(0, cells) ?? null,
    tokens: records.tokens.slice(0, cells),
    logProbs: records.logProbs.slice(0, cells),
    sources: records.sources.map(
      (map, layer) =>
        map &&
        eachHead(kvHeads[layer]!, cells, (head, into) => {
          into.set(map.subarray(head * before, head * before + cells));
        }),
    ),
  };
}

/** A cell counts as untouched when it is one token, without bias, rotated to its own position in all layers and heads. */
function untouchedTail(records: CellRecords, kvHeads: readonly number[]): number {
  const { positions, counts, bias, tokens, sources } = records;
  const cells = positions.length;
  const untouched = (cell: number): boolean => {
    if (counts[cell] !== 1 || tokens[cell]! < 0 || (bias?.[cell] ?? 0) !== 0) return false;
    return sources.every((map, layer) => {
      if (map === null) return true;
      for (let head = 0; head < kvHeads[layer]!; head++)
        if (map[head * cells + cell] !== positions[cell]) return false;
      return true;
    });
  };
  let run = 0;
  while (run < cells && untouched(cells - 1 - run)) {
    if (run > 0 && positions[cells - 1 - run] !== positions[cells - run]! - 1) break;
    run += 1;
  }
  return run;
}

/** The records after a fold: rows take the place of cells. */
export function foldedRecords(plan: MergePlan, shape: CacheShape, records: CellRecords): CellRecords {
  return {
    positions: plan.positions.slice(),
    counts: plan.counts.slice(),
    bias: nextBias(plan),
    tokens: nextTokens(plan, records.tokens)!,
    logProbs: nextTokenLogProbs(plan, records.logProbs)!,
    sources: shape.layers.map((_, layer) =>
      nextSources(plan, shape, layer, records.positions, records.sources[layer] ?? null),
    ),
  };
}
