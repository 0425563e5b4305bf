/** Fits help to a terminal: commander breaks the descriptions of options, but not what stands below them. */
import { wrap } from "./table.js";

/** Columns into which text is still broken, rather than let run on. */
export const NARROWEST = 20;

const NOTE_INDENT = " ".repeat(6);

/**
 * Breaks paragraphs and lists that are too long for `width` columns. Commands stay whole, so that they can be copied;
 * what is said of one goes below it.
 */
export function fitHelp(text: string, width: number): string {
  const blocks = text.match(/(?:^\S.*\n?)+|^.*\n?/gm) ?? [];
  return blocks.map((block) => fitBlock(block.replace(/\n$/, ""), width)).join("\n");
}

// ---------------------------------------------------------------------------------------------------------------

/** A paragraph, or one indented line. */
function fitBlock(block: string, width: number): string {
  const lines = block.split("\n");
  if (lines.every((line) => line.length <= width)) return block;
  if (!block.startsWith(" ")) return paragraph(lines.join(" "), width);
  const [, indent = "", words = "", note = ""] = /^( +)(.*?)(?: {2,}(.*))?$/.exec(block) ?? [];
  if (note !== "") return [indent + words, ...indented(note, NOTE_INDENT, width)].join("\n");
  return words.startsWith("kvfold ") ? block : indented(words, indent, width).join("\n");
}

/** What opens with a name and a colon, as an entry of a list, hangs from there. */
function paragraph(text: string, width: number): string {
  const name = /^[a-z]+: +/.exec(text)?.[0] ?? "";
  const lines = indented(text.slice(name.length), " ".repeat(name.length), width);
  return name + lines.join("\n").slice(name.length);
}

function indented(text: string, indent: string, width: number): string[] {
  return wrap(text, Math.max(width - indent.length, NARROWEST)).map((line) => indent + line);
}
