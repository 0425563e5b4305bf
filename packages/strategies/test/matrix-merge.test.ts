/** Merging strategies keep the promises of the conformance suite on all its caches. */
import { LISTED, testMatrix } from "./matrix.js";

await testMatrix([["sum"], ["mean"], ["head-pick"], ["ngram-pairs", LISTED]]);
