/** How many threads a job uses. */
import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { KvfoldError } from "@kvfold/core";

/** KVFOLD_MAX_THREADS of native/include/kvfold/fold.h. */
export const MAX_THREADS = 256;

/**
 * Physical cores that this process may use. Two threads of one core share its memory ports, so a second one gains
 * nothing here. Linux tells which logical processors are siblings; elsewhere every processor counts.
 */
export function physicalCores(
  siblingsOf: (processor: number) => string | null = linuxSiblings,
  logical: number = availableParallelism(),
): number {
  const cores = new Set<string>();
  for (let processor = 0; processor < logical; processor++)
    cores.add(siblingsOf(processor) ?? `${processor}`);
  return Math.max(1, cores.size);
}

function linuxSiblings(processor: number): string | null {
  try {
    return readFileSync(`/sys/devices/system/cpu/cpu${processor}/topology/thread_siblings_list`, "utf8");
  } catch {
    return null; // another system, or none of our business
  }
}

/** One core stays free for the event loop: physical cores minus one, at least 1. */
export function defaultThreads(): number {
  return Math.min(MAX_THREADS, Math.max(1, physicalCores() - 1));
}

/**
 * The caller's number, or the default.
 * @throws KvfoldError KVFOLD_ARGUMENT
 */
export function checkThreads(threads: number | undefined): number {
  if (threads === undefined) return defaultThreads();
  if (Number.isInteger(threads) && threads >= 1 && threads <= MAX_THREADS) return threads;
  throw new KvfoldError("KVFOLD_ARGUMENT", `threads is ${threads}`, {
    who: "native",
    hint: `it must be a whole number from 1 to ${MAX_THREADS}`,
  });
}
