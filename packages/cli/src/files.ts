/** Checks paths of files that will be written. */
import { stat } from "node:fs/promises";
import { dirname } from "node:path";
import { KvfoldError } from "@kvfold/core";

/**
 * Refuses a path whose folder does not exist, before hours of work end in an error.
 * @throws KvfoldError KVFOLD_FILE
 */
export async function refuseMissingFolder(path: string): Promise<void> {
  const facts = await stat(dirname(path)).catch(() => undefined);
  if (facts?.isDirectory() === true) return;
  throw new KvfoldError("KVFOLD_FILE", `the folder of ${JSON.stringify(path)} does not exist`, {
    hint: "make it first, or give another path",
  });
}
