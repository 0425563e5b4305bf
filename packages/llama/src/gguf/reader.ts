/** Reads the header of a GGUF file piece by piece; every length is checked against the file before it is used. */
import type { FileHandle } from "node:fs/promises";

/** Why a file is not a GGUF that can be read. */
export class GgufProblem extends Error {}

const WINDOW = 1 << 20;

/** A cursor over a file. Nothing beyond one window is held in memory. */
export interface GgufCursor {
  readonly fileBytes: number;
  position(): number;
  u32(): Promise<number>;
  /** @throws GgufProblem beyond 2^53 */
  u64(): Promise<number>;
  bytes(length: number): Promise<Buffer>;
  skip(length: number): void;
}

export function createCursor(file: FileHandle, fileBytes: number): GgufCursor {
  let at = 0;
  let window = Buffer.alloc(0);
  let windowStart = 0;
  const need = (length: number): void => {
    if (length > fileBytes - at)
      throw new GgufProblem(`the file ends inside its header, at byte ${fileBytes}`);
  };
  const take = async (length: number): Promise<Buffer> => {
    need(length);
    if (at < windowStart || at + length > windowStart + window.length) {
      const size = Math.min(Math.max(length, WINDOW), fileBytes - at);
      const fresh = Buffer.alloc(size);
      const { bytesRead } = await file.read(fresh, 0, size, at);
      if (bytesRead < length) throw new GgufProblem("the file became shorter while it was read");
      window = fresh.subarray(0, bytesRead);
      windowStart = at;
    }
    const start = at - windowStart;
    at += length;
    return window.subarray(start, start + length);
  };
  return {
    fileBytes,
    position: () => at,
    u32: async () => (await take(4)).readUInt32LE(0),
    u64: async () => {
      const value = (await take(8)).readBigUInt64LE(0);
      if (value > BigInt(Number.MAX_SAFE_INTEGER))
        throw new GgufProblem(`a length of ${value} in the header`);
      return Number(value);
    },
    bytes: take,
    skip: (length) => {
      need(length);
      at += length;
    },
  };
}
