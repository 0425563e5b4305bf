/** Weighers decide how much of each member goes into a row. */
import type { CacheView, PlanContext } from "@kvfold/core";

/** For whom a weigher weighs. With scope `all`, layer and head are 0. */
export interface WeighPlace {
  readonly view: CacheView;
  readonly context: PlanContext;
  /** Index into `view.shape.layers`. */
  readonly layer: number;
  /** KV head. */
  readonly head: number;
}

export interface Weigher {
  /** `head`: weights differ between layers or KV heads. */
  readonly scope: "all" | "head";
  /** Weights of the members, for keys and for values. [members] */
  weigh(members: readonly number[], place: WeighPlace): readonly number[];
}

/** 1 each. */
export const sumWeigher: Weigher = { scope: "all", weigh: (members) => members.map(() => 1) };

/** 1 / n each, n the number of cells. */
export const meanWeigher: Weigher = {
  scope: "all",
  weigh: (members) => members.map(() => 1 / members.length),
};

/** In proportion to the tokens inside each cell. */
export const countMeanWeigher: Weigher = {
  scope: "all",
  weigh: (members, { view }) => {
    const tokens = members.reduce((sum, cell) => sum + view.counts[cell]!, 0);
    return members.map((cell) => view.counts[cell]! / tokens);
  },
};

/** KV head h takes member h mod N alone, N the ratio rounded up; the last member where the group is smaller. */
export const headPickWeigher: Weigher = {
  scope: "head",
  weigh: (members, { context, head }) => {
    const picked = Math.min(head % Math.max(1, Math.ceil(context.ratio)), members.length - 1);
    return members.map((_, index) => (index === picked ? 1 : 0));
  },
};
