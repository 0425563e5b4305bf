/** Names that documents use without defining them, because the reader knows what they are. */
import type { CacheView, KvCache, MemoryTarget, MergePlan, MergeStrategy } from "@kvfold/core";

declare global {
  const cache: KvCache;
  const strategy: MergeStrategy;
  const plan: MergePlan;
  const target: MemoryTarget;
  const destinations: Uint32Array;
  const signal: AbortSignal;
  const text: string;
  const view: CacheView;
}
