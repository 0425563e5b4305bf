/** Text from files, made safe for a terminal. */

/** Replaces control characters, which could move the cursor or rewrite lines, by a middle dot. */
export function printable(text: string): string {
  return text.replaceAll(/\p{Cc}/gu, "·");
}
