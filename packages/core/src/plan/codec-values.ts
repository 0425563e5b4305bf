/** Fit requests and given values as sections of a plan file; a plan without them has none. */
import { type PlanLimits, planError } from "./check-structure.js";
import type { DenseValues, FitRequest, MergePlan } from "./plan.js";
import { fileError, pack32, type Section, unpack32 } from "./sections.js";

/**
 *     FITR  u32 method 0, u32 horizon, u32 maxRows, u32 holdout, f64 lambda, 32 bytes hash of the sample
 *     FREE  u32 layers * kvHeads, one bit for each head and row, low bits first
 *     RIDG  u8 ridge factor of each free row, in order; left out where all are 1
 *     GIVN  as FREE          VDAT  f32 values
 */
export const VALUE_TAGS = ["FITR", "FREE", "RIDG", "GIVN", "VDAT"] as const;

const METHODS = ["ridge"] as const;
const FIT_BYTES = 56;
const LAMBDA_AT = 16;
const HASH_AT = 24;

/** A fit that frees no row, and values of no row, count as absent. */
export function valueSections({ fit, values, rows }: MergePlan): Section[] {
  const sections: Section[] = [];
  if (fit?.free.some((bit) => bit !== 0)) {
    sections.push({ tag: "FITR", bytes: packFit(fit) }, { tag: "FREE", bytes: packMask(fit.free, rows) });
    const factors = fit.free.filter((factor) => factor !== 0);
    if (factors.some((factor) => factor > 1)) sections.push({ tag: "RIDG", bytes: factors });
  }
  if (values?.given.some((bit) => bit !== 0)) {
    sections.push({ tag: "GIVN", bytes: packMask(values.given, rows) });
    sections.push({ tag: "VDAT", bytes: pack32(values.data) });
  }
  return sections;
}

function packFit(fit: FitRequest): Uint8Array {
  const out = new Uint8Array(FIT_BYTES);
  const view = new DataView(out.buffer);
  const words = [METHODS.indexOf(fit.method), fit.horizon, fit.maxRows, fit.holdout];
  words.forEach((word, index) => {
    view.setUint32(4 * index, word, true);
  });
  view.setFloat64(LAMBDA_AT, fit.lambda, true);
  for (let i = 0; HASH_AT + i < FIT_BYTES; i++) {
    out[HASH_AT + i] = Number.parseInt(fit.queries.slice(2 * i, 2 * i + 2), 16);
  }
  return out;
}

function packMask(mask: Uint8Array, rows: number): Uint8Array {
  const out = new Uint8Array(4 + Math.ceil(mask.length / 8));
  new DataView(out.buffer).setUint32(0, mask.length / rows, true);
  mask.forEach((bit, i) => {
    out[4 + (i >> 3)]! |= (bit === 0 ? 0 : 1) << (i & 7);
  });
  return out;
}

/**
 * Reads what `valueSections` wrote; the plan's own rules judge the numbers afterwards.
 * @throws KvfoldError KVFOLD_PLAN_FILE, KVFOLD_PLAN_LIMIT
 */
export function readValues(
  sections: ReadonlyMap<string, Uint8Array>,
  rows: number,
  limits: PlanLimits,
): { readonly fit: FitRequest | null; readonly values: DenseValues | null } {
  const pair = (first: string, second: string): [Uint8Array, Uint8Array] | null => {
    const [a, b] = [sections.get(first), sections.get(second)];
    if (a === undefined && b === undefined) return null;
    if (a === undefined || b === undefined) throw fileError(`sections ${first} and ${second} come together`);
    return [a, b];
  };
  const fit = pair("FITR", "FREE");
  const factors = sections.get("RIDG");
  if (factors !== undefined && fit === null) throw fileError("section RIDG comes with FREE");
  const values = pair("GIVN", "VDAT");
  return {
    fit: fit && { ...unpackFit(fit[0]), free: unpackFree(fit[1], factors, rows, limits) },
    values: values && {
      given: unpackMask(values[0], rows, "GIVN", limits),
      data: unpackData(values[1], limits),
    },
  };
}

function unpackFit(bytes: Uint8Array): Omit<FitRequest, "free"> {
  if (bytes.length !== FIT_BYTES) throw fileError(`FITR has ${bytes.length} bytes, must have ${FIT_BYTES}`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const method = METHODS[view.getUint32(0, true)];
  if (method === undefined) throw fileError(`fit method ${view.getUint32(0, true)} is unknown`);
  const hash = [...bytes.subarray(HASH_AT)].map((byte) => byte.toString(16).padStart(2, "0"));
  return {
    method,
    horizon: view.getUint32(4, true),
    maxRows: view.getUint32(8, true),
    holdout: view.getUint32(12, true),
    lambda: view.getFloat64(LAMBDA_AT, true),
    queries: hash.join(""),
  };
}

function unpackMask(bytes: Uint8Array, rows: number, tag: string, limits: PlanLimits): Uint8Array {
  if (bytes.length < 4) throw fileError(`${tag} is cut off`);
  const heads = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(0, true);
  const length = heads * rows;
  if (length > limits.entries) {
    throw planError("KVFOLD_PLAN_LIMIT", `${tag} has ${length} entries, the limit is ${limits.entries}`);
  }
  const want = 4 + Math.ceil(length / 8);
  if (bytes.length !== want) throw fileError(`${tag} has ${bytes.length} bytes, must have ${want}`);
  const mask = Uint8Array.from({ length }, (_, i) => (bytes[4 + (i >> 3)]! >> (i & 7)) & 1);
  // equal plans have equal bytes, so the bits after the last row are 0, and a mask says something
  if (length % 8 !== 0 && bytes[want - 1]! >> (length % 8) !== 0) throw fileError(`${tag} has stray bits`);
  if (!mask.includes(1)) throw fileError(`${tag} names no row`);
  return mask;
}

/** Equal plans have equal bytes, so factors that are all 1 are not written. */
function unpackFree(
  bytes: Uint8Array,
  factors: Uint8Array | undefined,
  rows: number,
  limits: PlanLimits,
): Uint8Array {
  const free = unpackMask(bytes, rows, "FREE", limits);
  if (factors === undefined) return free;
  const count = free.reduce((sum, bit) => sum + bit, 0);
  if (factors.length !== count) throw fileError(`RIDG has ${factors.length} factors for ${count} free rows`);
  if (factors.includes(0) || factors.every((factor) => factor === 1)) {
    throw fileError("RIDG has a factor of 0, or says nothing");
  }
  let next = 0;
  return free.map((bit) => (bit === 0 ? 0 : factors[next++]!));
}

function unpackData(bytes: Uint8Array, limits: PlanLimits): Float32Array {
  const length = Math.floor(bytes.length / 4);
  if (length > limits.entries) {
    throw planError("KVFOLD_PLAN_LIMIT", `VDAT has ${length} entries, the limit is ${limits.entries}`);
  }
  return new Float32Array(unpack32(bytes, length, "VDAT").buffer);
}
