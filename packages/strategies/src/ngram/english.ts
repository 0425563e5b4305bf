/**
 * A small list for English: pairs of function words and marks that stand together in any kind of text and of which the
 * second says little beside the first. Put together by hand as a baseline, in the order of how common they are; token
 * texts with a leading space, as byte-level BPE vocabularies write words.
 */

/** `first + second`, in groups that share their first token; within the limits of `LIST_LIMITS`. */
const FOLLOWERS: readonly (readonly [first: string, seconds: readonly string[]])[] = [
  [" of", [" the", " a", " his", " this", " its", " their", " all"]],
  [" in", [" the", " a", " this", " his", " which"]],
  [" to", [" the", " be", " a", " have", " his"]],
  [",", [" and", " the", " but", " which", " or", " in", " as"]],
  [".", [" The", " It", " He", " In", " I", " And", "\n"]],
  [" on", [" the", " a"]],
  [" and", [" the", " a", " his", " in"]],
  [" for", [" the", " a"]],
  [" at", [" the"]],
  [" from", [" the", " a"]],
  [" with", [" the", " a"]],
  [" by", [" the", " a"]],
  [" it", [" is", " was"]],
  [" that", [" the", " it", " he"]],
  [" is", [" a", " the", " not"]],
  [" was", [" a", " the", " not"]],
  [" as", [" a", " the"]],
  [" have", [" been", " a"]],
  [" has", [" been"]],
  [" had", [" been"]],
  [" will", [" be"]],
  [" would", [" be", " have"]],
  [" could", [" be", " not"]],
  [" can", [" be"]],
  [" there", [" is", " was"]],
  [" out", [" of"]],
  [" one", [" of"]],
  [" into", [" the"]],
  [" did", [" not"]],
  [" do", [" not"]],
];

/** Every first pair of a group, then every second, and so on: the commonest come first. */
export const ENGLISH_PAIRS: readonly (readonly [string, string])[] = Array.from({ length: 8 }, (_, place) =>
  FOLLOWERS.flatMap(([first, seconds]) =>
    place < seconds.length ? [[first, seconds[place]!] as const] : [],
  ),
).flat();
