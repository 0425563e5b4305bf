/** One cache, many folds from the same snapshot: attention over the cells as they were is computed once. */
import type { AttendStats, KvCache } from "@kvfold/core";

/**
 * The same cache, whose operation `attend` remembers its results. Only for folds that all begin with the same cells and
 * the same queries: nothing is forgotten.
 */
export function rememberingAttention(cache: KvCache): KvCache {
  const known = new Map<string, Promise<AttendStats>>();
  return {
    name: cache.name,
    get shape() {
      return cache.shape;
    },
    get tokensSeen() {
      return cache.tokensSeen;
    },
    lease: () => cache.lease(),
    apply: (lease, plan, options) => cache.apply(lease, plan, options),
    ops: {
      keyStats: (view, layer, options) => cache.ops.keyStats(view, layer, options),
      attend: async (view, layer, options = {}) => {
        const { horizon, maxRows, queries } = options;
        const key = JSON.stringify([layer, horizon, maxRows, queries?.hash]);
        const before = known.get(key);
        if (before !== undefined) return before;
        const stats = cache.ops.attend(view, layer, options);
        known.set(key, stats);
        // a run that was cancelled says nothing about the next
        stats.catch(() => known.delete(key));
        return stats;
      },
    },
  };
}
