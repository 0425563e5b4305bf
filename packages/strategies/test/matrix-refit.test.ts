/** Refit keeps the promises of the conformance suite on all its caches. */
import { testMatrix } from "./matrix.js";

await testMatrix([
  ["refit(sinks=1,recent=2)"],
  ["refit(sinks=0,recent=0,fitWindow=false,maxRows=40)"],
  ["refit(sinks=1,recent=1,queries=repeat,sharedPins=0.5)"],
  ["refit(sinks=0,recent=2,fit=false,headPins=0,sharedPins=0)"],
]);
