/** Option schemas that several strategies share; their messages complete "option x is 1.5: ...". */
import { isScorer, type Scorer } from "@kvfold/core";
import * as v from "valibot";

/** Positions and cell counts fit the engine's 32-bit numbers. */
const LARGEST = 2 ** 31 - 1;

/** A whole number of cells, tokens or positions from 0. */
export const wholeNumber: v.GenericSchema<unknown, number> = v.pipe(
  v.unknown(),
  v.number("expected a number"),
  v.integer("expected a whole number"),
  v.minValue(0, "expected at least 0"),
  v.maxValue(LARGEST, `expected at most ${LARGEST}`),
);

/** A factor of at least 1. */
export const factor: v.GenericSchema<unknown, number> = v.pipe(
  v.unknown(),
  v.number("expected a number"),
  v.finite("expected a finite number"),
  v.minValue(1, "expected at least 1"),
  v.maxValue(LARGEST, `expected at most ${LARGEST}`),
);

/** A whole number of cells, rows or positions from 1. */
export const positiveNumber: v.GenericSchema<unknown, number> = v.pipe(
  wholeNumber,
  v.minValue(1, "expected at least 1"),
);

/** Positions over which future queries are spread: fewer than the stride with which `futurePosition` walks them. */
export const futureHorizon: v.GenericSchema<unknown, number> = v.pipe(
  positiveNumber,
  v.maxValue(4096, "expected at most 4096"),
);

/** A part of a whole, 0 to 1. */
export const share: v.GenericSchema<unknown, number> = v.pipe(
  v.unknown(),
  v.number("expected a number"),
  v.minValue(0, "expected at least 0"),
  v.maxValue(1, "expected at most 1"),
);

export const scorer: v.GenericSchema<unknown, Scorer> = v.pipe(
  v.unknown(),
  v.custom<Scorer>(isScorer, "expected a scorer, such as keydiff()"),
);
