/** Text for terminals: harmless, measured in columns, wrapped. */

/** How an item is coloured. */
export type Style = "kept" | "pinned" | "merged" | "note";

/** A piece of a picture that is never broken. */
export interface Item {
  readonly text: string;
  readonly style: Style;
  /** Position that a line shows when this is its first item with one; null for none. */
  readonly position: number | null;
}

const COLORS: Readonly<Record<Style, readonly [string, string]>> = {
  kept: ["", ""],
  pinned: ["\u001b[1m", "\u001b[22m"],
  merged: ["\u001b[33m", "\u001b[39m"],
  note: ["\u001b[2m", "\u001b[22m"],
};

export const paint = (text: string, style: Style, color: boolean): string =>
  color ? COLORS[style][0] + text + COLORS[style][1] : text;

const ESCAPES: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t", " ": "\u2581" };

/**
 * A token's text as something that can be shown: spaces become \u2581, whatever could steer a terminal (control and
 * format characters, odd separators, lone surrogates) becomes an escape.
 */
export function visible(piece: string): string {
  if (piece === "") return '""';
  return piece.replace(
    /[\p{C}\p{Z}]/gu,
    (char) => ESCAPES[char] ?? `\\u{${char.codePointAt(0)!.toString(16)}}`,
  );
}

const ZERO_WIDTH = /^\p{M}$/u;
const DOUBLE_WIDTH =
  /^(?:\p{Emoji_Presentation}|[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff01-\uff60\uffe0-\uffe6\u{20000}-\u{3fffd}])$/u;

const columnsOf = (char: string): number => (ZERO_WIDTH.test(char) ? 0 : DOUBLE_WIDTH.test(char) ? 2 : 1);

/** Columns that a text takes on a terminal, by the usual widths of East Asian characters. */
export function columns(text: string): number {
  let sum = 0;
  for (const char of text) sum += columnsOf(char);
  return sum;
}

/** Cuts a text to a width, with an ellipsis in place of the rest. */
export function cut(text: string, width: number): string {
  if (columns(text) <= width) return text;
  let kept = "";
  for (const char of text) {
    if (columns(kept) + columnsOf(char) > width - 1) break;
    kept += char;
  }
  return `${kept}\u2026`;
}

/** Sets items in lines of at most `width` columns, each with the position of its first row in front. */
export function wrap(items: readonly Item[], width: number, color: boolean): string[] {
  const label = items.reduce((most, item) => Math.max(most, String(item.position ?? "").length), 1);
  const lines: string[] = [];
  let line: Item[] = [];
  let used = 0;
  const flush = (): void => {
    if (line.length === 0) return;
    const first = line.find((item) => item.position !== null);
    const position = String(first?.position ?? "").padStart(label);
    const text = line.map((item) => paint(item.text, item.style, color)).join(" ");
    lines.push(`${paint(position, "note", color)}  ${text}`);
    line = [];
    used = 0;
  };
  const room = Math.max(4, width - label - 2);
  for (const item of items) {
    const fitting = { ...item, text: cut(item.text, room) };
    const size = columns(fitting.text);
    if (used > 0 && used + 1 + size > room) flush();
    used += (used > 0 ? 1 : 0) + size;
    line.push(fitting);
  }
  flush();
  return lines;
}

/** A sentence in lines of at most `width` columns. */
export function wrapWords(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const line = lines.at(-1);
    if (line !== undefined && columns(line) + 1 + columns(word) <= width)
      lines[lines.length - 1] = `${line} ${word}`;
    else lines.push(word);
  }
  return lines;
}

/** Keeps both ends of a long list of lines. */
export function shorten(lines: readonly string[], most: number): string[] {
  if (lines.length <= most) return [...lines];
  const head = Math.ceil((most - 1) / 2);
  const tail = Math.floor((most - 1) / 2);
  const hidden = lines.length - head - tail;
  return [...lines.slice(0, head), `... ${hidden} more lines`, ...lines.slice(lines.length - tail)];
}
