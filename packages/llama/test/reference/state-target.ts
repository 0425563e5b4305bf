/** The cells of a live sequence as typed arrays, out of what `llama_state_seq_get_data` gives. */
import type { MemoryTarget } from "@kvfold/core";
import type { LlamaSequence } from "../../src/index.js";

/** A cell of the state: position, number of sequences (1), sequence. */
const CELL_BYTES = 12;

/**
 * A copy of the cells in the order of memory, which is that of the view here: sequences that were folded at most once.
 * One stream. Values transposed: element j of cell c at (j * cells + c) elements.
 */
export async function stateTarget(sequence: LlamaSequence): Promise<MemoryTarget> {
  const state = await sequence.stateBytes();
  const lease = await sequence.lease();
  lease.release();
  const { shape, bias } = lease;
  const { cells } = shape;
  const data = new DataView(state.buffer, state.byteOffset, state.byteLength);
  let at = 8 + 4;
  const u32 = (): number => {
    at += 4;
    return data.getUint32(at - 4, true);
  };
  const u64 = (): number => {
    at += 8;
    return Number(data.getBigUint64(at - 8, true));
  };
  const take = (bytes: number): Uint8Array => {
    at += bytes;
    return state.slice(at - bytes, at);
  };
  if (u32() !== cells) throw new Error("the state has another number of cells than the view");
  const positions = Int32Array.from({ length: cells }, (_, i) => data.getInt32(at + i * CELL_BYTES, true));
  at += cells * CELL_BYTES;
  const transposed = u32() === 1;
  if (u32() !== shape.layers.length) throw new Error("the state has another number of layers");
  const rows = (): Uint8Array => {
    u32();
    return take(u64() * cells);
  };
  const columns = (): Uint8Array => {
    u32();
    const element = u32();
    return take(element * u32() * cells);
  };
  const keys = shape.layers.map(rows);
  const values = shape.layers.map(transposed ? columns : rows);
  if (at !== state.length) throw new Error("the state is longer than its layers");
  return {
    shape,
    capacity: cells,
    slots: Uint32Array.from({ length: cells }, (_, i) => i),
    keys,
    values,
    positions,
    sources: shape.layers.map((_, layer) => lease.sources(layer)),
    bias,
  };
}
