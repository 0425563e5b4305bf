/** Decides whether an answer names the key. */

/**
 * The answer must begin with the key, exactly, after white space. What follows must not lengthen it: no letter, digit or
 * underscore, and no hyphen, point or comma that is followed by one.
 *
 *     key 31415   " 31415."  right    " 314159."  wrong    " 31415-92"  wrong    " 31 415"  wrong
 */
export function isRightAnswer(answer: string, key: string): boolean {
  const text = answer.trimStart();
  if (!text.startsWith(key)) return false;
  return !/^(?:[\p{L}\p{N}_]|-[\p{L}\p{N}]|[.,]\p{N})/u.test(text.slice(key.length));
}
