/** A logger of four words; silent unless somebody listens. */

export interface Logger {
  debug(message: string): void;
  info(message: string): void;
  warn(message: string): void;
}

const nothing = (): void => {};

/** Says nothing. */
export const silentLogger: Logger = { debug: nothing, info: nothing, warn: nothing };
