/** What a strategy expression says, as plain data: `pin(sinks=8) > evict(by=max(keydiff,surprise))`. */

/** A value of an option. Names without brackets are strings; whoever takes the option knows what they name. */
export type ExpressionValue = number | string | boolean | Call | readonly ExpressionValue[];

/** `name(option=value, ...)`. Unnamed arguments have the name null. */
export interface Call {
  readonly name: string;
  readonly arguments: readonly Argument[];
}

export interface Argument {
  readonly name: string | null;
  readonly value: ExpressionValue;
}

/** Wrappers from the outside in, then the strategy: `a > b > c` is a(b(c)). */
export interface Expression {
  readonly wrappers: readonly Call[];
  readonly strategy: Call;
}

/** Expressions are short; longer text is a mistake or an attack. */
export const EXPRESSION_LIMITS = {
  /** UTF-16 units of the text. */
  length: 4096,
  /** Brackets inside brackets. */
  depth: 16,
  /** Wrappers and the strategy. */
  stages: 32,
} as const;
