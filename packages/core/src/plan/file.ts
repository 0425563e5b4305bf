/** Plans on disk: whole files only, never half-written ones. */
import { randomUUID } from "node:crypto";
import { open, readFile, rename, rm, stat } from "node:fs/promises";
import { KvfoldError } from "../errors.js";
import { DEFAULT_PLAN_LIMITS, type PlanLimits, planError } from "./check-structure.js";
import { decodePlan, encodePlan, type PlanFile } from "./codec.js";
import type { MergePlan } from "./plan.js";

/** Members, weights, given values and masks of the largest plan that the limits allow, texts and headers included. */
const largestFile = (limits: PlanLimits): number =>
  (4 * 4 + 1) * limits.entries + 32 * limits.cells + 2 ** 28;

const fileFailure = (doing: string, path: string, cause: unknown): KvfoldError => {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new KvfoldError("KVFOLD_FILE", `${path} cannot be ${doing}: ${reason}`, {
    who: "plan file",
    hint: "check the path and its permissions",
    cause,
  });
};

/**
 * Writes a plan file. It appears whole or not at all: a neighbour file is written, flushed and renamed.
 * @throws KvfoldError KVFOLD_FILE, and whatever `encodePlan` throws
 */
export async function savePlan(
  path: string,
  plan: MergePlan,
  metadata: Readonly<Record<string, string>> = {},
  pieces: readonly string[] | null = null,
): Promise<void> {
  const bytes = encodePlan(plan, metadata, pieces);
  const partial = `${path}.${randomUUID()}.partial`;
  try {
    const file = await open(partial, "wx");
    try {
      await file.writeFile(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(partial, path);
  } catch (cause) {
    await rm(partial, { force: true }).catch(() => {});
    throw fileFailure("written", path, cause);
  }
}

/**
 * Reads a plan file.
 * @throws KvfoldError KVFOLD_FILE, KVFOLD_PLAN_FILE, KVFOLD_PLAN_LIMIT
 */
export async function loadPlan(path: string, limits: PlanLimits = DEFAULT_PLAN_LIMITS): Promise<PlanFile> {
  let bytes: Uint8Array;
  try {
    const { size } = await regularFile(path);
    if (size > largestFile(limits)) throw planError("KVFOLD_PLAN_LIMIT", `${path} has ${size} bytes`);
    bytes = await readFile(path);
  } catch (cause) {
    throw cause instanceof KvfoldError ? cause : fileFailure("read", path, cause);
  }
  try {
    return decodePlan(bytes, limits);
  } catch (cause) {
    if (!(cause instanceof KvfoldError)) throw cause;
    throw new KvfoldError(cause.code, `${path}: ${cause.what}`, {
      who: "plan file",
      hint: cause.hint ?? "plan files are written by savePlan, or by kvfold passkey --save-plan",
      cause,
    });
  }
}

/** Devices and pipes have no size to check, and may never end. */
async function regularFile(path: string): Promise<{ size: number }> {
  const found = await stat(path);
  if (!found.isFile()) throw new Error("it is not a regular file");
  return found;
}
