/** Eviction, with every scorer and scope, keeps the promises of the conformance suite on all its caches. */
import { testMatrix } from "./matrix.js";

await testMatrix([
  ["evict(sinks=1,recent=2)"],
  ["evict(by=surprise,per=head,sinks=0,recent=0)"],
  ["evict(per=shared,sinks=1,recent=2)"],
  ["evict(by=knorm,per=shared,sinks=0,recent=0)"],
  ["evict(by=max(keydiff,surprise),per=shared,sinks=1,recent=2)"],
  ["evict(by=recency,per=shared,sinks=1,recent=0,neighbours=0)"],
  ["evict(by=frms,sinks=1,recent=2)"],
  ["evict(by=snapkv,per=shared,sinks=0,recent=2,neighbours=0)"],
  ["evict(by=repeat,sinks=0,recent=0)"],
]);
