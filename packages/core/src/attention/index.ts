/** Attention over one KV head and the refit of its values. */

export { type AttendInput, type AttendResult, attendHead } from "./attend.js";
export { type FitError, type FitForm, type FitInput, type FitResult, fitHead, fitHeadBytes } from "./fit.js";
export type { Floats, HeadScores } from "./head.js";
