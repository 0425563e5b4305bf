/** The container of plan files: magic, version, length-prefixed sections, checksum. All numbers are little-endian. */
import { createHash } from "node:crypto";
import { KvfoldError } from "../errors.js";
import { PLAN_VERSION } from "./plan.js";

/**
 *     "KVFOLDPL"  u32 version  u32 sections  { char tag[4], u64 length, bytes }...  sha-256 of all before it
 */
const MAGIC = "KVFOLDPL";
const HEADER_BYTES = 16;
const SECTION_BYTES = 12;
const CHECKSUM_BYTES = 32;
const MOST_SECTIONS = 16;

/** A named stretch of bytes; the tag has four ASCII letters. */
export interface Section {
  readonly tag: string;
  readonly bytes: Uint8Array;
}

/** A mistake in a plan file. */
export function fileError(
  what: string,
  init: { readonly hint?: string; readonly cause?: unknown } = {},
): KvfoldError {
  return new KvfoldError("KVFOLD_PLAN_FILE", what, { who: "plan file", ...init });
}

const sha256 = (bytes: Uint8Array): Uint8Array => createHash("sha256").update(bytes).digest();

/** Packs sections into one array with header and checksum. */
export function packSections(sections: readonly Section[]): Uint8Array {
  const body = sections.reduce((sum, section) => sum + SECTION_BYTES + section.bytes.length, HEADER_BYTES);
  const out = new Uint8Array(body + CHECKSUM_BYTES);
  const view = new DataView(out.buffer);
  putAscii(out, 0, MAGIC);
  view.setUint32(8, PLAN_VERSION, true);
  view.setUint32(12, sections.length, true);
  let at = HEADER_BYTES;
  for (const { tag, bytes } of sections) {
    putAscii(out, at, tag);
    view.setBigUint64(at + 4, BigInt(bytes.length), true);
    out.set(bytes, at + SECTION_BYTES);
    at += SECTION_BYTES + bytes.length;
  }
  out.set(sha256(out.subarray(0, body)), body);
  return out;
}

const putAscii = (out: Uint8Array, at: number, text: string): void => {
  for (let i = 0; i < text.length; i++) out[at + i] = text.charCodeAt(i);
};
const ascii = (bytes: Uint8Array): string => String.fromCharCode(...bytes);

/**
 * Finds the sections of a file; they are windows into it, nothing is copied.
 * @throws KvfoldError KVFOLD_PLAN_FILE when it is no plan file, of another version, or damaged
 */
export function unpackSections(file: Uint8Array): Map<string, Uint8Array> {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (file.length < MAGIC.length || ascii(file.subarray(0, MAGIC.length)) !== MAGIC)
    throw fileError("not a plan file");
  if (file.length < HEADER_BYTES + CHECKSUM_BYTES) throw fileError("the file is cut off");
  const version = view.getUint32(8, true);
  if (version !== PLAN_VERSION) {
    const hint = "save the plan again with this version of kvfold, or use the version that made it";
    throw fileError(`the file has version ${version}, this kvfold reads version ${PLAN_VERSION}`, { hint });
  }
  const end = file.length - CHECKSUM_BYTES;
  const checksum = sha256(file.subarray(0, end));
  if (!checksum.every((byte, i) => byte === file[end + i])) {
    throw fileError("the checksum does not match: the file is damaged or cut off");
  }
  return readSections(file.subarray(0, end), view);
}

function readSections(body: Uint8Array, view: DataView): Map<string, Uint8Array> {
  const count = view.getUint32(12, true);
  if (count > MOST_SECTIONS) throw fileError(`${count} sections`);
  const sections = new Map<string, Uint8Array>();
  let at = HEADER_BYTES;
  for (let index = 0; index < count; index++) {
    if (body.length - at < SECTION_BYTES) throw fileError(`section ${index} is cut off`);
    const tag = ascii(body.subarray(at, at + 4));
    const length = Number(view.getBigUint64(at + 4, true));
    at += SECTION_BYTES;
    if (length > body.length - at)
      throw fileError(`section ${index} claims ${length} bytes, ${body.length - at} are left`);
    if (sections.has(tag)) throw fileError(`section ${tag} comes twice`);
    sections.set(tag, body.subarray(at, at + length));
    at += length;
  }
  if (at !== body.length) throw fileError(`${body.length - at} bytes follow the last section`);
  return sections;
}

/** Bytes of an array of 32-bit numbers. */
export function pack32(array: Int32Array | Uint32Array | Float32Array): Uint8Array {
  const out = new Uint8Array(4 * array.length);
  const view = new DataView(out.buffer);
  // words, not floats: no NaN payload is lost on the way
  const words = new Uint32Array(array.buffer, array.byteOffset, array.length);
  for (let i = 0; i < words.length; i++) view.setUint32(4 * i, words[i]!, true);
  return out;
}

/** The 32-bit words of a section, of which there must be `length`; checked before anything is allocated. */
export function unpack32(bytes: Uint8Array, length: number, what: string): Uint32Array<ArrayBuffer> {
  if (bytes.length !== 4 * length)
    throw fileError(`${what} has ${bytes.length} bytes, must have ${4 * length}`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const out = new Uint32Array(length);
  for (let i = 0; i < length; i++) out[i] = view.getUint32(4 * i, true);
  return out;
}
