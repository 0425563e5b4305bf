/** The few colours that are used, or none. */
import { styleText } from "node:util";
import type { Streams } from "./streams.js";

export interface Style {
  strong(text: string): string;
  faint(text: string): string;
  good(text: string): string;
  bad(text: string): string;
}

/** Colours for a stream that takes them. */
export function styleFor(streams: Pick<Streams, "colour">): Style {
  const paint =
    (format: Parameters<typeof styleText>[0]) =>
    (text: string): string =>
      streams.colour ? styleText(format, text) : text;
  return { strong: paint("bold"), faint: paint("dim"), good: paint("green"), bad: paint("red") };
}
