/**
 * Strategies of every plan layout and weight scope keep the promises of the conformance suite under every wrapper;
 * self-extend cannot move composite plans.
 */
import { LISTED, testMatrix } from "./matrix.js";

await testMatrix([
  ["pin(sinks=1,recent=1) > mean"],
  ["pin(sinks=0,recent=2,level=absorb) > head-pick"],
  ["pin(sinks=0,recent=2,level=key) > ngram-pairs", LISTED],
  ["pin(sinks=1,recent=1) > evict(by=surprise,per=shared,sinks=0,recent=0)"],
  ["pin(sinks=1,recent=1) > refit(sinks=1,recent=2)"],
  ["self-extend(factor=3,window=0) > head-pick"],
  ["self-extend(factor=2,window=4) > evict(per=shared,sinks=1,recent=2)"],
  ["self-extend(factor=2,window=4) > pin(sinks=1,recent=1) > mean"],
]);
