/** From a plan to what every slice (one head of one cell) of a tensor becomes: a copy, a sum, or bytes that are given. */
import {
  type LayerShape,
  type MergePlan,
  memberOf,
  mostKvHeads,
  type SharedPlan,
  weightBase,
} from "@kvfold/core";
import { KEYS, type RawChunk, type RawSums, type TensorKind, VALUES } from "../native/device-addon.js";
import { type DeviceTarget, sliceBytes } from "./memory.js";

/** Value slices that the host computed: those of fits, and those that a plan gives. */
export interface OwnSlices {
  /** Raw bytes of a slice, or null where the members make it. */
  readonly at: (layer: number, head: number, row: number) => Uint8Array | null;
  /** Whether a layer has any. */
  readonly inLayer: (layer: number) => boolean;
}

export const noOwnSlices: OwnSlices = { at: () => null, inLayer: () => false };

/** A plan in work. */
export interface SliceWork {
  readonly target: DeviceTarget;
  readonly plan: MergePlan;
  readonly destinations: Uint32Array;
  readonly own: OwnSlices;
}

/** Heads of one tensor that are written together. */
export interface ChunkPlace {
  readonly layer: number;
  readonly kind: TensorKind;
  readonly firstHead: number;
  readonly heads: number;
  readonly wholeCells: boolean;
}

/**
 * Cuts the tensors of a cache so that no chunk needs much more scratch than `scratchBytes`, or than one head. A cell is
 * one slice where nothing tells its heads apart: fewer and longer rows move faster.
 */
export function chunkPlaces(work: SliceWork, scratchBytes: number): ChunkPlace[] {
  const places: ChunkPlace[] = [];
  for (const [layer, shape] of work.target.memory.layers.entries()) {
    for (const kind of [KEYS, VALUES] as const) {
      const most = Math.max(1, Math.floor(scratchBytes / headScratch(work, shape, kind)));
      if (most >= shape.kvHeads && !tellsHeadsApart(work, layer, kind)) {
        places.push({ layer, kind, firstHead: 0, heads: shape.kvHeads, wholeCells: true });
        continue;
      }
      for (let firstHead = 0; firstHead < shape.kvHeads; firstHead += most) {
        const heads = Math.min(most, shape.kvHeads - firstHead);
        places.push({ layer, kind, firstHead, heads, wholeCells: false });
      }
    }
  }
  return places;
}

/** Floats of the sums with two steps of their making, raw copies, and the copy of a transposed tensor. */
function headScratch({ plan, target, destinations }: SliceWork, layer: LayerShape, kind: TensorKind): number {
  const dim = kind === KEYS ? layer.keyDim : layer.valueDim;
  const rows = plan.rows * (3 * 4 * dim + 2 * sliceBytes(layer, kind));
  return rows + (isTransposed(layer, kind) ? cellsUsed(target, destinations) * sliceBytes(layer, kind) : 0);
}

const isTransposed = (layer: LayerShape, kind: TensorKind): boolean =>
  kind === VALUES && layer.valueLayout === "transposed";

function tellsHeadsApart({ plan, own, target }: SliceWork, layer: number, kind: TensorKind): boolean {
  const shape = target.memory.layers[layer]!;
  if (plan.layout === "composite" || isTransposed(shape, kind)) return true;
  if (kind === VALUES) return plan.valueWeights.scope === "head" || own.inLayer(layer);
  return plan.keyWeights.scope === "head" || (plan.keyFrame === "target" && shape.rope !== null);
}

/** Physical cells from 0 that a fold reads or writes. */
function cellsUsed({ slots }: DeviceTarget, destinations: Uint32Array): number {
  const largest = (cells: Uint32Array): number => cells.reduce((most, cell) => Math.max(most, cell), 0);
  return Math.max(largest(slots), largest(destinations)) + 1;
}

/** The lists of one chunk, head after head, row after row. */
export function chunkOf(work: SliceWork, place: ChunkPlace): RawChunk {
  const { plan, target, destinations, own } = work;
  const { layer, kind, firstHead, heads, wholeCells } = place;
  const shape = target.memory.layers[layer]!;
  const lists = createLists(plan, wholeCells ? 1 : heads);
  const last = wholeCells ? firstHead + 1 : firstHead + heads;
  for (let head = firstHead; head < last; head++) {
    const unit = wholeCells
      ? (cell: number): number => cell
      : (cell: number): number => cell * shape.kvHeads + head;
    const made = rowMaker(work, place, head);
    for (let row = 0; row < plan.rows; row++) {
      const to = unit(destinations[row]!);
      const bytes = kind === VALUES ? own.at(layer, head, row) : null;
      if (bytes !== null) lists.give(to, bytes);
      else made(row, to, lists, (cell) => unit(target.slots[cell]!));
    }
  }
  return { ...place, cells: cellsUsed(target, destinations), ...lists.take() };
}

type RowMaker = (row: number, to: number, lists: Lists, unitOf: (cell: number) => number) => void;

function rowMaker({ plan, target }: SliceWork, { layer, kind }: ChunkPlace, head: number): RowMaker {
  if (plan.layout === "composite")
    return (row, to, lists, unitOf) => lists.copy(unitOf(memberOf(plan, layer, head, row)), to);
  const { data, scope } = kind === KEYS ? plan.keyWeights : plan.valueWeights;
  const base = weightBase({ data, scope }, plan.members.length, mostKvHeads(target.shape), layer, head);
  const turnOf = turner(plan, target, layer, kind, head);
  return (row, to, lists, unitOf) => {
    let counts = 0;
    for (let i = plan.offsets[row]!; i < plan.offsets[row + 1]!; i++) {
      const cell = plan.members[i]!;
      if (data[base + i] === 0) continue;
      lists.member(unitOf(cell), data[base + i]!, turnOf(row, cell));
      counts += 1;
    }
    // a row that nothing weighs in is zero
    if (counts === 0) lists.member(unitOf(plan.members[plan.offsets[row]!]!), 0, 0);
    lists.closeRow(to);
  };
}

/** Positions by which the key of a cell turns for a row. */
function turner(
  plan: SharedPlan,
  target: DeviceTarget,
  layer: number,
  kind: TensorKind,
  head: number,
): (row: number, cell: number) => number {
  if (kind !== KEYS || plan.keyFrame !== "target" || target.memory.layers[layer]!.rope === null)
    return () => 0;
  const sources = target.sources[layer] ?? null;
  return (row, cell) =>
    plan.positions[row]! - (sources === null ? target.positions[cell]! : sources[head * plan.cells + cell]!);
}

interface Lists {
  copy(from: number, to: number): void;
  give(to: number, bytes: Uint8Array): void;
  /** Adds a member to the row that is open. */
  member(from: number, weight: number, turn: number): void;
  /** Ends the open row: a single member of weight 1 that stays where it is rotated is a copy. */
  closeRow(to: number): void;
  take(): Pick<RawChunk, "copiedFrom" | "copiedTo" | "givenTo" | "given" | "sums" | "turned">;
}

function createLists(plan: MergePlan, heads: number): Lists {
  const slices = plan.rows * heads;
  const copiedFrom = new Int32Array(slices);
  const copiedTo = new Int32Array(slices);
  let copied = 0;
  const givenTo: number[] = [];
  const given: Uint8Array[] = [];
  const members = plan.layout === "shared" ? plan.members.length * heads : 0;
  const sums = createSums(members === 0 ? 0 : slices, members);
  const turned = createSums(members === 0 ? 0 : slices, members);
  const open: { from: number; weight: number; turn: number }[] = [];
  const copy = (from: number, to: number): void => {
    copiedFrom[copied] = from;
    copiedTo[copied++] = to;
  };
  return {
    copy,
    give(to, bytes) {
      givenTo.push(to);
      given.push(bytes);
    },
    member: (from, weight, turn) => open.push({ from, weight, turn }),
    closeRow(to) {
      const [only] = open;
      const turns = open.some(({ turn }) => turn !== 0);
      if (open.length === 1 && only!.weight === 1 && !turns) copy(only!.from, to);
      else (turns ? turned : sums).add(to, open);
      open.length = 0;
    },
    take: () => ({
      copiedFrom: copiedFrom.subarray(0, copied),
      copiedTo: copiedTo.subarray(0, copied),
      givenTo: Int32Array.from(givenTo),
      given: joined(given),
      sums: sums.take(false),
      turned: turned.take(true),
    }),
  };
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const size = parts[0]?.length ?? 0;
  const all = new Uint8Array(parts.length * size);
  for (const [i, part] of parts.entries()) all.set(part, i * size);
  return all;
}

interface Sums {
  add(to: number, members: readonly { from: number; weight: number; turn: number }[]): void;
  take(withTurns: boolean): RawSums;
}

function createSums(slices: number, members: number): Sums {
  const to = new Int32Array(slices);
  const offsets = new Uint32Array(slices + 1);
  const from = new Int32Array(members);
  const weights = new Float32Array(members);
  const turns = new Int32Array(members);
  let [rows, end] = [0, 0];
  return {
    add(where, those) {
      for (const { from: unit, weight, turn } of those) {
        from[end] = unit;
        weights[end] = weight;
        turns[end++] = turn;
      }
      to[rows++] = where;
      offsets[rows] = end;
    },
    take: (withTurns) => ({
      to: to.subarray(0, rows),
      offsets: offsets.subarray(0, rows + 1),
      from: from.subarray(0, end),
      weights: weights.subarray(0, end),
      turns: withTurns ? turns.subarray(0, end) : new Int32Array(0),
    }),
  };
}
