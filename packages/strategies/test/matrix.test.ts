/** Every strategy, alone and under every wrapper, keeps the promises of the conformance suite on all its caches. */
import { resolveStrategy } from "@kvfold/core";
import { type TestStrategyOptions, testStrategy } from "@kvfold/testkit";
import { createDefaultRegistry } from "../src/index.js";

const LISTED: TestStrategyOptions = { mayMissTarget: "a list has only so many pairs" };

const STRATEGIES: readonly (readonly [expression: string, options: TestStrategyOptions])[] = [
  ["sum", {}],
  ["mean", {}],
  ["head-pick", {}],
  ["ngram-pairs", LISTED],
  ["evict(sinks=1,recent=2)", {}],
  ["evict(by=surprise,per=head,sinks=0,recent=0)", {}],
  ["evict(per=shared,sinks=1,recent=2)", {}],
  ["evict(by=knorm,per=shared,sinks=0,recent=0)", {}],
  ["evict(by=max(keydiff,surprise),per=shared,sinks=1,recent=2)", {}],
  ["evict(by=recency,per=shared,sinks=1,recent=0,neighbours=0)", {}],
  ["evict(by=frms,sinks=1,recent=2)", {}],
  ["evict(by=snapkv,per=shared,sinks=0,recent=2,neighbours=0)", {}],
  ["evict(by=repeat,sinks=0,recent=0)", {}],
  ["refit(sinks=1,recent=2)", {}],
  ["refit(sinks=0,recent=0,fitWindow=false,maxRows=40)", {}],
  ["refit(sinks=1,recent=1,queries=repeat,sharedPins=0.5)", {}],
  ["refit(sinks=0,recent=2,fit=false,headPins=0,sharedPins=0)", {}],
];

/** Strategies of every plan layout and weight scope; self-extend cannot move composite plans. */
const WRAPPED: readonly (readonly [expression: string, options: TestStrategyOptions])[] = [
  ["pin(sinks=1,recent=1) > mean", {}],
  ["pin(sinks=0,recent=2,level=absorb) > head-pick", {}],
  ["pin(sinks=0,recent=2,level=key) > ngram-pairs", LISTED],
  ["pin(sinks=1,recent=1) > evict(by=surprise,per=shared,sinks=0,recent=0)", {}],
  ["pin(sinks=1,recent=1) > refit(sinks=1,recent=2)", {}],
  ["self-extend(factor=3,window=0) > head-pick", {}],
  ["self-extend(factor=2,window=4) > evict(per=shared,sinks=1,recent=2)", {}],
  ["self-extend(factor=2,window=4) > pin(sinks=1,recent=1) > mean", {}],
];

const registry = createDefaultRegistry();
for (const [expression, options] of [...STRATEGIES, ...WRAPPED]) {
  const strategy = await resolveStrategy(expression, registry);
  testStrategy(expression, () => strategy, options);
}
