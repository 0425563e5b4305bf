/** One after another: calls on a context must never overlap. */

export interface Gate {
  /** Runs when everything before has ended, whatever its outcome. */
  run<T>(job: () => T | Promise<T>): Promise<T>;
}

export function createGate(): Gate {
  let last: Promise<unknown> = Promise.resolve();
  return {
    run<T>(job: () => T | Promise<T>): Promise<T> {
      const result = last.then(job);
      last = result.catch(() => {});
      return result;
    },
  };
}
