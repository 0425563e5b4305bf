/** The text in which a needle is hidden: the sentences of llama.cpp's passkey example, or prose from a file. */
import { readText, textError } from "./text-file.js";

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

const ROLE = "the haystack";

/** A "sentence" without an end, as in a table or a log, is cut into pieces of about this many characters. */
const LONGEST_PIECE = 800;

/**
 * Reads a text file as a haystack.
 * @throws KvfoldError KVFOLD_FILE when it cannot be read, or is no text in UTF-8
 */
export async function proseHaystack(path: string): Promise<Haystack> {
  const pieces = splitPieces(await readText(path, ROLE));
  if (pieces.length === 0) throw textError(path, ROLE, "holds no text");
  return { name: path, kind: "window", pieces };
}

// ---------------------------------------------------------------------------------------------------------------

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
