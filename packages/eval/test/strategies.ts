/** Strategies for tests, which keep cells by the tokens in them. */
import { defineStrategy, keepPlan, type MergeStrategy, type SignalName } from "@kvfold/core";

/** Keeps the cells whose token or place passes, and the last. */
export const keepWhere = (
  name: string,
  keep: (token: number, cell: number) => boolean,
  signals: readonly SignalName[] = [],
): MergeStrategy =>
  defineStrategy({
    name,
    summary: "for tests",
    signals,
    create: () => ({
      plan: (view) => {
        const cells = [...view.tokens!.keys()];
        return keepPlan(
          view,
          cells.filter((cell) => cell === cells.length - 1 || keep(view.tokens![cell]!, cell)),
        );
      },
    }),
  })();
