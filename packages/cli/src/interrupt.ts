/** Ctrl-C: the first one asks the work to end cleanly, the second one ends the process at once. */

export interface Interrupt {
  readonly signal: AbortSignal;
  dispose(): void;
}

const EXIT_CODES = { SIGINT: 130, SIGTERM: 143 } as const;

/** Listens until disposed. The work sees an abort and ends with KVFOLD_ABORTED. */
export function onInterrupt(): Interrupt {
  const controller = new AbortController();
  const handlers = (["SIGINT", "SIGTERM"] as const).map((name) => {
    const handler = (): void => {
      if (controller.signal.aborted) process.exit(EXIT_CODES[name]);
      controller.abort(new Error(name));
    };
    process.on(name, handler);
    return { name, handler };
  });
  return {
    signal: controller.signal,
    dispose: () => {
      for (const { name, handler } of handlers) process.off(name, handler);
    },
  };
}
