/** What an executor solved for, judged by what it answers: nobody has to find the same values, only values as good. */
import {
  attendHead,
  type FitOutcome,
  type FitRequest,
  futureQueries,
  hadamardTransform,
  type MemoryTarget,
  type MergePlan,
  mostKvHeads,
  type QuerySample,
} from "@kvfold/core";
import { boundFor } from "./bounds.js";
import type { FitBound } from "./fit-bound.js";
import { readRows } from "./read-rows.js";

/** A fit that was made, and what it is compared with. */
export interface FitUnderTest {
  readonly plan: MergePlan;
  readonly fit: FitRequest;
  readonly queries: QuerySample;
  readonly destinations: Uint32Array;
  /** Memory before the fold. */
  readonly before: MemoryTarget;
  /** Memory as the executor left it. */
  readonly after: MemoryTarget;
  /** Memory as the reference leaves it. */
  readonly reference: MemoryTarget;
  /** Memory as the reference leaves it without a fit. */
  readonly kept: MemoryTarget;
}

const fail = (message: string): never => {
  throw new Error(message);
};

/**
 * For every head with free rows there is one outcome; it says the truth; and the values that are in the cache answer as
 * well as those of the reference, on the query rows that fit, up to the bound. A fit that was dropped left every byte.
 *
 * @throws Error that names the head and the broken promise
 */
export function checkFits(under: FitUnderTest, outcomes: readonly FitOutcome[] | null): void {
  if (outcomes === null) throw new Error("fits: the plan has one, but none is reported");
  const kvHeads = mostKvHeads(under.before.shape);
  under.before.shape.layers.forEach((layer, layerIndex) => {
    for (let head = 0; head < layer.kvHeads; head++) {
      const from = (layerIndex * kvHeads + head) * under.plan.rows;
      const factors = under.fit.free.subarray(from, from + under.plan.rows);
      const free = factors.some((factor) => factor !== 0);
      const own = outcomes.filter((outcome) => outcome.layer === layerIndex && outcome.head === head);
      const where = `fit of layer ${layerIndex}, head ${head}`;
      if (own.length > 1 || (free && own.length === 0)) fail(`${where}: ${own.length} outcomes`);
      if (free) checkHead(under, layerIndex, head, factors, own[0]!, where);
    }
  });
}

function checkHead(
  under: FitUnderTest,
  layerIndex: number,
  head: number,
  factors: Uint8Array,
  outcome: FitOutcome,
  where: string,
): void {
  const judge = judgeOf(under, layerIndex, head);
  const [got, want, kept] = [judge(under.after), judge(under.reference), judge(under.kept)];
  const bound = boundFor("fit", under.before.shape.layers[layerIndex]!.valueType, {
    ...got.sizes,
    free: factors.filter((factor) => factor !== 0).length,
    stiffest: Math.max(...factors),
    lambda: under.fit.lambda,
  });
  const near = (name: string, reported: number, is: number): void => {
    if (!(Math.abs(reported - is) <= bound.output)) {
      fail(`${where}: ${name} is reported as ${reported}, it is ${is}, ${bound.output} may be off`);
    }
  };
  near("the error before", outcome.before, kept.judged);
  near("the error after", outcome.after, got.judged);
  if (outcome.accepted !== outcome.after < outcome.before) {
    fail(`${where}: ${outcome.before} became ${outcome.after}, accepted: ${outcome.accepted}`);
  }
  const same = got.bytes.every((value, i) => value === kept.bytes[i]);
  if (!outcome.accepted && !same) near("the error of values that stay", got.fitted, kept.fitted);
  checkAsGood(outcome, bound, { got, want, kept }, where);
  if (outcome.accepted) checkHeld(factors, bound, { got, want, kept }, where);
}

/** Rows that the ridge holds more strongly move about as far as in the reference, which their answers do not tell. */
function checkHeld(
  factors: Uint8Array,
  bound: FitBound,
  { got, want, kept }: Readonly<Record<"got" | "want" | "kept", Answers>>,
  where: string,
): void {
  const { valueDim, length } = kept.sizes;
  const moved = (answers: Answers): number =>
    Math.hypot(
      ...answers.bytes.map((value, i) =>
        factors[Math.floor(i / valueDim)]! > 1 ? value - kept.bytes[i]! : 0,
      ),
    );
  const stored = 2 * bound.output * length * Math.sqrt(kept.bytes.length);
  if (!(moved(got) <= 1.05 * moved(want) + stored)) {
    fail(`${where}: held rows moved by ${moved(got)}, those of the reference by ${moved(want)} + ${stored}`);
  }
}

/** A fit that the reference drops or takes by less than the bound may go either way. */
function checkAsGood(
  outcome: FitOutcome,
  bound: FitBound,
  { got, want, kept }: Readonly<Record<"got" | "want" | "kept", Answers>>,
  where: string,
): void {
  const taken = want.bytes.some((value, i) => value !== kept.bytes[i]);
  const slack = bound.output + bound.missing * kept.fitted;
  const close = Math.abs(want.judged - kept.judged) <= bound.output + bound.missing * kept.judged;
  if (!outcome.accepted && !close && taken) fail(`${where}: dropped, the reference takes it`);
  if (outcome.accepted && !close && !taken) fail(`${where}: taken, the reference drops it`);
  if (outcome.accepted !== taken) return;
  if (!(got.fitted <= want.fitted + slack)) {
    fail(`${where}: the rows are off by ${got.fitted}, those of the reference by ${want.fitted} + ${slack}`);
  }
}

/** How a head answers, relative to the length of what all cells answer. */
interface Answers {
  /** |A V - O| / |O| over the query rows that fit. */
  readonly fitted: number;
  /** The same over those that judge. */
  readonly judged: number;
  /** Values of the head as stored. [rows, valueDim] */
  readonly bytes: Float32Array;
  readonly sizes: {
    readonly rows: number;
    readonly cells: number;
    readonly keyDim: number;
    readonly valueDim: number;
    /** Largest |q||k| and |v|; length of O over the judging rows. */
    readonly score: number;
    readonly value: number;
    readonly length: number;
  };
}

/** Prepares queries and targets of one head; gives what its rows answer in a memory. */
function judgeOf(under: FitUnderTest, layerIndex: number, head: number): (memory: MemoryTarget) => Answers {
  const { plan, fit, before } = under;
  const layer = before.shape.layers[layerIndex]!;
  const { keyDim, valueDim } = layer;
  const queriesAfter = (last: number): Float32Array =>
    futureQueries(under.queries, layerIndex, layer, head, {
      ...{ last, horizon: fit.horizon, maxRows: fit.maxRows },
    });
  const [old, now] = [queriesAfter(before.positions.at(-1)!), queriesAfter(plan.positions.at(-1)!)];
  const [oldKeys, oldValues] = rowsOfHead(before, layerIndex, head, before.slots);
  const sizes = { dim: keyDim, valueDim };
  const full = attendHead({
    ...{ ...sizes, queries: old, keys: oldKeys, values: oldValues, bias: before.bias ?? null },
  }).outputs!;
  return (memory) => {
    const [keys, values] = rowsOfHead(memory, layerIndex, head, under.destinations);
    const answer = attendHead({ ...sizes, queries: now, keys, values, bias: plan.bias }).outputs!;
    const judges = (row: number): boolean => row % fit.holdout === fit.holdout - 1;
    const fitted = relative(answer, full, valueDim, (row) => !judges(row));
    const judged = relative(answer, full, valueDim, judges);
    const score = longest(old, keyDim) * Math.max(longest(oldKeys, keyDim), longest(keys, keyDim));
    return {
      fitted: fitted.error,
      judged: judged.error,
      bytes: values,
      sizes: {
        ...{ rows: old.length / keyDim, cells: before.shape.cells, keyDim, valueDim, score },
        value: Math.max(largest(oldValues), largest(values)),
        length: judged.length,
      },
    };
  };
}

/** Keys and values of one head, Hadamard undone. [slots, keyDim], [slots, valueDim] */
function rowsOfHead(
  memory: MemoryTarget,
  layerIndex: number,
  head: number,
  slots: Uint32Array,
): [Float32Array, Float32Array] {
  const layer = memory.shape.layers[layerIndex]!;
  const side = (name: "keys" | "values", dim: number, block: number): Float32Array => {
    const all = readRows(memory, layerIndex, name, slots);
    const own = new Float32Array(slots.length * dim);
    for (let row = 0; row < slots.length; row++) {
      const from = (row * layer.kvHeads + head) * dim;
      own.set(all.subarray(from, from + dim), row * dim);
      if (block > 0) hadamardTransform(own, row * dim, dim, block);
    }
    return own;
  };
  return [
    side("keys", layer.keyDim, layer.hadamard.key),
    side("values", layer.valueDim, layer.hadamard.value),
  ];
}

/** Over the rows of a choice: |answer - full| / |full|, and |full| per root of its elements. */
function relative(
  answer: Float64Array,
  full: Float64Array,
  width: number,
  chosen: (row: number) => boolean,
): { readonly error: number; readonly length: number } {
  let [missing, size, count] = [0, 0, 0];
  full.forEach((value, i) => {
    if (!chosen(Math.floor(i / width))) return;
    missing += (answer[i]! - value) ** 2;
    size += value ** 2;
    count += 1;
  });
  return { error: Math.sqrt(missing / size), length: Math.sqrt(size / count) };
}

function longest(rows: Float32Array, width: number): number {
  let most = 0;
  for (let from = 0; from < rows.length; from += width) {
    most = Math.max(most, Math.hypot(...rows.subarray(from, from + width)));
  }
  return most;
}

const largest = (numbers: Float32Array): number => numbers.reduce((max, x) => Math.max(max, Math.abs(x)), 0);
