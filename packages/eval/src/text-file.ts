/** Reads plain text in UTF-8 from files of any size and kind, and refuses what is none. */
import { open } from "node:fs/promises";
import { KvfoldError } from "@kvfold/core";

/** Of a longer file only the first 2 MiB are used: some 500,000 tokens, more than any context that is tested here. */
export const TEXT_LIMIT_BYTES: number = 2 * 1024 * 1024;

/**
 * The text of a file, at most the first `TEXT_LIMIT_BYTES` of it.
 * @param role what the file is for: "the haystack"
 * @throws KvfoldError KVFOLD_FILE when it cannot be read, or is no text in UTF-8
 */
export async function readText(path: string, role: string): Promise<string> {
  const refuse = (what: string, cause?: unknown): KvfoldError => textError(path, role, what, cause);
  const { bytes, whole } = await readStart(path, refuse);
  if (bytes.includes(0)) throw refuse("is not a text file");
  try {
    // `stream` leaves a character that the limit cut in two undecoded
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes, { stream: !whole });
  } catch (cause) {
    throw refuse("is not valid UTF-8", cause);
  }
}

export function textError(path: string, role: string, what: string, cause?: unknown): KvfoldError {
  return new KvfoldError("KVFOLD_FILE", `${role} ${JSON.stringify(path)} ${what}`, {
    hint: "give the path of a plain text file in UTF-8",
    ...(cause === undefined ? {} : { cause }),
  });
}

// ---------------------------------------------------------------------------------------------------------------

async function readStart(
  path: string,
  refuse: (what: string, cause?: unknown) => KvfoldError,
): Promise<{ bytes: Uint8Array; whole: boolean }> {
  let file: Awaited<ReturnType<typeof open>>;
  try {
    file = await open(path, "r");
  } catch (cause) {
    const missing = (cause as NodeJS.ErrnoException).code === "ENOENT";
    throw refuse(missing ? "does not exist" : "cannot be opened", cause);
  }
  try {
    const facts = await file.stat();
    if (!facts.isFile()) throw refuse("is not a file");
    const bytes = new Uint8Array(Math.min(facts.size, TEXT_LIMIT_BYTES));
    let filled = 0;
    while (filled < bytes.length) {
      const { bytesRead } = await file.read(bytes, filled, bytes.length - filled, filled);
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    return { bytes: bytes.subarray(0, filled), whole: facts.size <= TEXT_LIMIT_BYTES };
  } finally {
    await file.close();
  }
}
