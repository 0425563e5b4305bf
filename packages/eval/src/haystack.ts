/** The text in which a needle is hidden: the sentences of llama.cpp's passkey example, or prose from a file. */
import { open } from "node:fs/promises";
import { KvfoldError } from "@kvfold/core";

/** Pieces between which a needle may stand. Each starts with its white space and ends with a sentence. */
export interface Haystack {
  /** `junk`, or the path of the file. */
  readonly name: string;
  /** `repeat`: piece after piece, over and over. `window`: a stretch of consecutive pieces, chosen by the seed. */
  readonly kind: "repeat" | "window";
  readonly pieces: readonly string[];
}

/** The filler of llama.cpp's `examples/passkey`: five sentences, repeated. */
export const JUNK_UNIT =
  " The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.";

/** The haystack of llama.cpp's passkey example. */
export const junkHaystack: Haystack = { name: "junk", kind: "repeat", pieces: [JUNK_UNIT] };

/** Of a longer file only the first 2 MiB are used: some 500,000 tokens, more than any context that is tested here. */
export const PROSE_LIMIT_BYTES: number = 2 * 1024 * 1024;

/** A "sentence" without an end, as in a table or a log, is cut into pieces of about this many characters. */
const LONGEST_PIECE = 800;

/**
 * Reads a text file as a haystack.
 * @throws KvfoldError KVFOLD_FILE when it cannot be read, or is no text in UTF-8
 */
export async function proseHaystack(path: string): Promise<Haystack> {
  const text = decodeText(path, await readStart(path));
  const pieces = splitPieces(text);
  if (pieces.length === 0) throw fileError(path, "holds no text");
  return { name: path, kind: "window", pieces };
}

// ---------------------------------------------------------------------------------------------------------------

async function readStart(path: string): Promise<{ bytes: Uint8Array; whole: boolean }> {
  let file: Awaited<ReturnType<typeof open>>;
  try {
    file = await open(path, "r");
  } catch (cause) {
    const missing = (cause as NodeJS.ErrnoException).code === "ENOENT";
    throw fileError(path, missing ? "does not exist" : "cannot be opened", cause);
  }
  try {
    const facts = await file.stat();
    if (!facts.isFile()) throw fileError(path, "is not a file");
    const bytes = new Uint8Array(Math.min(facts.size, PROSE_LIMIT_BYTES));
    let filled = 0;
    while (filled < bytes.length) {
      const { bytesRead } = await file.read(bytes, filled, bytes.length - filled, filled);
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    return { bytes: bytes.subarray(0, filled), whole: facts.size <= PROSE_LIMIT_BYTES };
  } finally {
    await file.close();
  }
}

function decodeText(path: string, { bytes, whole }: { bytes: Uint8Array; whole: boolean }): string {
  if (bytes.includes(0)) throw fileError(path, "is not a text file");
  try {
    // `stream` leaves a character that the limit cut in two undecoded
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes, { stream: !whole });
  } catch (cause) {
    throw fileError(path, "is not valid UTF-8", cause);
  }
}

function fileError(path: string, what: string, cause?: unknown): KvfoldError {
  return new KvfoldError("KVFOLD_FILE", `the haystack ${JSON.stringify(path)} ${what}`, {
    hint: "give the path of a plain text file in UTF-8, or junk",
    ...(cause === undefined ? {} : { cause }),
  });
}

/** Cuts a text after the ends of its sentences; nothing but leading and trailing white space is lost. */
export function splitPieces(text: string): string[] {
  const body = text.trim();
  const pieces: string[] = [];
  let start = 0;
  for (const match of body.matchAll(/[.!?]["'”’)\]]{0,3}(?=\s)/gu)) {
    const end = match.index + match[0].length;
    pushPieces(pieces, body.slice(start, end));
    start = end;
  }
  if (start < body.length) pushPieces(pieces, body.slice(start));
  return pieces;
}

function pushPieces(pieces: string[], sentence: string): void {
  let rest = sentence;
  while (rest.length > LONGEST_PIECE) {
    const space = rest.slice(1, LONGEST_PIECE).search(/\s\S*$/u);
    let cut = space < 0 ? LONGEST_PIECE : space + 1;
    if (isLowSurrogate(rest.charCodeAt(cut))) cut -= 1;
    pieces.push(rest.slice(0, cut));
    rest = rest.slice(cut);
  }
  if (rest.length > 0) pieces.push(rest);
}

function isLowSurrogate(unit: number): boolean {
  return unit >= 0xdc00 && unit <= 0xdfff;
}
