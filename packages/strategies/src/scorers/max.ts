/**
 * Keeps what any of several scorers would keep: `max(keydiff,surprise)`. Scores of different scorers have different
 * units, so each becomes a rank in [0, 1] first, per head where a scorer speaks per head; a cell gets its largest rank.
 *
 *     scorer a   9 1 5    ranks 1 0 .5
 *     scorer b   2 3 1    ranks .5 1 0     max  1 1 .5
 *
 * Shared when all of its scorers are.
 */
import { defineScorer, type Scorer, type ScorerFactory, type Scores } from "@kvfold/core";
import * as v from "valibot";
import { createBreather } from "../parts/breathe.js";
import { scorer } from "../parts/schemas.js";
import { ranks, scoresByHead } from "../parts/scores.js";

export interface MaxOptions {
  /** Scorers, at least one. */
  readonly of: readonly Scorer[];
}

export const max: ScorerFactory<MaxOptions> = defineScorer<MaxOptions>({
  name: "max",
  summary: "The highest rank that any of several scorers gives.",
  options: {
    schema: v.strictObject({ of: v.pipe(v.array(scorer), v.minLength(1, "expected at least one scorer")) }),
    info: { of: { default: [], description: "scorers, written without a name: max(a,b)", kind: "scorers" } },
  },
  positional: "of",
  create: ({ of }) => ({
    signals: of.flatMap((one) => one.signals),
    appliesTo: (shape) => of.map((one) => one.appliesTo(shape)).find((answer) => answer !== true) ?? true,
    score: async (view, context): Promise<Scores> => {
      const breathe = createBreather(context, "max");
      const { cells, layers } = view.shape;
      const scores: Scores[] = [];
      for (const one of of) scores.push(await one.score(view, context));
      const heads = scores.map((given, i) => scoresByHead(of[i]!, given, view.shape));
      // shared scores are ranked once, not once a head
      const sharedRanks = scores.map((given, i) =>
        given.scope === "shared" ? ranks(heads[i]!(0, 0)) : null,
      );
      const best = (layer: number, head: number): Float32Array =>
        largest(heads.map((byHead, i) => sharedRanks[i] ?? ranks(byHead(layer, head))));
      if (scores.every(({ scope }) => scope === "shared")) return { scope: "shared", data: best(0, 0) };
      const perLayer: Float32Array[] = [];
      for (const [layer, { kvHeads }] of layers.entries()) {
        const data = new Float32Array(kvHeads * cells);
        for (let head = 0; head < kvHeads; head++) {
          await breathe();
          data.set(best(layer, head), head * cells);
        }
        perLayer.push(data);
      }
      return { scope: "head", layers: perLayer };
    },
  }),
});

// ---------------------------------------------------------------------------------------------------------------

function largest(all: readonly Float32Array[]): Float32Array {
  const [first, ...others] = all;
  return first!.map((rank, cell) => others.reduce((most, other) => Math.max(most, other[cell]!), rank));
}
