/** Reads the values of command-line options. Every refusal names the option, the value and what would be right. */
import { KvfoldError } from "@kvfold/core";

/** Largest seed: 32 bits. */
const LARGEST_SEED = 2 ** 32 - 1;

/** A whole number in [least, most], written in decimal digits. */
export function wholeNumber(option: string, least: number, most: number): (text: string) => number {
  return (text) => {
    const value = /^\d{1,15}$/.test(text.trim()) ? Number(text) : Number.NaN;
    if (value >= least && value <= most) return value;
    throw new KvfoldError("KVFOLD_ARGUMENT", `${option} does not take ${JSON.stringify(text)}`, {
      hint: `give a whole number from ${least} to ${most}, in digits`,
    });
  };
}

export const seed: (text: string) => number = wholeNumber("--seed", 0, LARGEST_SEED);

/** One of the listed words. */
export function oneOf<Word extends string>(option: string, words: readonly Word[]): (text: string) => Word {
  return (text) => {
    const word = words.find((each) => each === text);
    if (word !== undefined) return word;
    throw new KvfoldError("KVFOLD_ARGUMENT", `${option} does not take ${JSON.stringify(text)}`, {
      hint: `give ${words.join(" or ")}`,
    });
  };
}

/** A ratio or a list of them: `4` or `4,8`. Each is a finite number of at least 1. */
export function ratios(text: string): number[] {
  return [...new Set(text.split(",").map((part) => ratio(part.trim())))];
}

function ratio(text: string): number {
  const value = /^\d+(\.\d+)?(e\d+)?$/i.test(text) ? Number(text) : Number.NaN;
  if (Number.isFinite(value) && value >= 1) return value;
  throw new KvfoldError("KVFOLD_RATIO", `--ratio does not take ${JSON.stringify(text)}`, {
    hint: "a ratio is cells before divided by cells after, at least 1: --ratio 4, or --ratio 4,8 for both",
  });
}

/** A list of depths in per cent: `5,50,95`. */
export function depths(text: string): number[] {
  return text.split(",").map((part) => {
    const value = /^\s*\d+(\.\d+)?\s*$/.test(part) ? Number(part) : Number.NaN;
    if (value >= 0 && value <= 100) return value;
    throw new KvfoldError("KVFOLD_ARGUMENT", `--depths does not take ${JSON.stringify(part)}`, {
      hint: "depths are per cent of the haystack, 0 to 100: --depths 5,50,95",
    });
  });
}

/** Collects an option that may be given several times. */
export function collect(text: string, before: string[] | undefined): string[] {
  return [...(before ?? []), text];
}

/** A list of what another reader takes, each once: `2048,4096`. */
export function listOf<Value>(read: (text: string) => Value): (text: string) => Value[] {
  return (text) => [...new Set(text.split(",").map((part) => read(part.trim())))];
}

/** The name of a file; whether it is there is asked later. */
export function fileName(text: string): string {
  if (text !== "") return text;
  throw new KvfoldError("KVFOLD_ARGUMENT", "a file name is empty", {
    hint: "leave out the comma, or give one",
  });
}
