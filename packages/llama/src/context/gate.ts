/** One after another: calls on a context must never overlap. */

export interface Gate {
  /** Runs when everything before has ended, whatever its outcome. */
  run<T>(job: () => T | Promise<T>): Promise<T>;
  /** Jobs that wait or run. */
  readonly pending: number;
}

export function createGate(): Gate {
  let last: Promise<unknown> = Promise.resolve();
  let pending = 0;
  return {
    get pending() {
      return pending;
    },
    run<T>(job: () => T | Promise<T>): Promise<T> {
      pending += 1;
      const result = last.then(job).finally(() => {
        pending -= 1;
      });
      last = result.catch(() => {});
      return result;
    },
  };
}
