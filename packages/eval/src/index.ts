/** The public surface of @kvfold/eval. */
export * from "./bootstrap.js";
export * from "./cells.js";
export * from "./compare.js";
export * from "./engine.js";
export * from "./grid.js";
export type { Haystack } from "./haystack.js";
export { JUNK_UNIT, junkHaystack, proseHaystack } from "./haystack.js";
export { DECODE_TOKENS, decodeSpeed, median } from "./measure.js";
export * from "./results.js";
export * from "./rows.js";
export * from "./table.js";
export * from "./tasks/grid-parts.js";
export * from "./tasks/kl.js";
export * from "./tasks/kl-windows.js";
export * from "./tasks/passkey.js";
export * from "./tasks/passkey-cases.js";
export { isRightAnswer } from "./tasks/passkey-score.js";
export { readText } from "./text-file.js";
