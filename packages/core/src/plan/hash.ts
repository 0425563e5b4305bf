/** A name for a plan's content: equal plans, equal hash, on every machine. */
import { createHash } from "node:crypto";
import { planSections } from "./codec.js";
import type { MergePlan } from "./plan.js";
import { packSections } from "./sections.js";

/**
 * SHA-256 of the bytes of a plan without metadata, as 64 hexadecimal digits. A bias or pins of zeros hash as none.
 * @throws KvfoldError KVFOLD_PLAN_SHAPE when it is no plan
 */
export function hashPlan(plan: MergePlan): string {
  return createHash("sha256")
    .update(packSections(planSections(plan)))
    .digest("hex");
}
