/** The public surface of @kvfold/eval. */
export * from "./engine.js";
export type { Haystack } from "./haystack.js";
export { JUNK_UNIT, junkHaystack, proseHaystack } from "./haystack.js";
export { DECODE_TOKENS, decodeSpeed, median } from "./measure.js";
export * from "./table.js";
export * from "./tasks/passkey.js";
export * from "./tasks/passkey-cases.js";
export { isRightAnswer } from "./tasks/passkey-score.js";
