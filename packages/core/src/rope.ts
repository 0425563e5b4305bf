/** Rotary position embedding: frequencies of a model, and rotating a head by a difference of positions. */
import { KvfoldError } from "./errors.js";
import type { RopeSpec } from "./shape.js";

/** YaRN (arXiv 2309.00071): low frequencies are interpolated, high ones left alone, with a ramp between. */
export interface YarnOptions {
  /** Context length of the original training, in tokens. */
  readonly originalContext: number;
  /** Turns over the original context above which a pair is left alone; default 32. */
  readonly betaFast?: number;
  /** Turns below which a pair is interpolated; default 1. */
  readonly betaSlow?: number;
  /** Share of the ramp, llama.cpp's `ext_factor`; default 1. */
  readonly strength?: number;
}

export interface RopeFrequencyOptions {
  /** Rotated channels; even. */
  readonly dims: number;
  /** Base of the geometric series, `rope.freq_base`. */
  readonly base: number;
  /** Factor on all positions, llama.cpp's `rope.freq_scale`: 1 / scaling factor. Default 1. */
  readonly scale?: number;
  /** Divisors of the angles (Llama 3, LongRoPE). [dims / 2] */
  readonly factors?: ArrayLike<number> | null;
  readonly yarn?: YarnOptions | null;
}

function positive(name: string, value: number): number {
  if (Number.isFinite(value) && value > 0) return value;
  throw new KvfoldError("KVFOLD_ARGUMENT", `${name} is ${value}: must be a positive number`, { who: "rope" });
}

/** 1 where a pair keeps its own frequency, 0 where it is interpolated. */
function yarnRamp(yarn: YarnOptions, dims: number, base: number): (pair: number) => number {
  const context = positive("originalContext", yarn.originalContext);
  const pairOfTurns = (turns: number): number =>
    (dims * Math.log(context / (positive("beta", turns) * 2 * Math.PI))) / (2 * Math.log(base));
  const low = Math.max(0, Math.floor(pairOfTurns(yarn.betaFast ?? 32)));
  const high = Math.min(dims - 1, Math.ceil(pairOfTurns(yarn.betaSlow ?? 1)));
  const strength = yarn.strength ?? 1;
  return (pair) => strength * (1 - Math.min(1, Math.max(0, (pair - low) / Math.max(0.001, high - low))));
}

/**
 * Radians per position of every pair, as llama.cpp rotates. The angle is linear in the position, also with YaRN and
 * with factors, so rotating by p' - p with these numbers is exact. YaRN's magnitude is not part of a rotation.
 *
 * @returns [dims / 2]
 * @throws KvfoldError KVFOLD_ARGUMENT
 */
export function ropeFrequencies(options: RopeFrequencyOptions): Float64Array {
  const { dims, factors = null, yarn = null } = options;
  const base = positive("base", options.base);
  const scale = positive("scale", options.scale ?? 1);
  if (!Number.isSafeInteger(dims) || dims < 2 || dims % 2 !== 0 || dims > 65536) {
    throw new KvfoldError("KVFOLD_ARGUMENT", `dims is ${dims}: must be an even number from 2 to 65536`, {
      who: "rope",
    });
  }
  if (factors !== null && factors.length !== dims / 2) {
    throw new KvfoldError("KVFOLD_ARGUMENT", `${factors.length} factors for ${dims / 2} pairs`, {
      who: "rope",
    });
  }
  const ramp = yarn === null ? () => 0 : yarnRamp(yarn, dims, base);
  return Float64Array.from({ length: dims / 2 }, (_, pair) => {
    const own = base ** ((-2 * pair) / dims) / (factors === null ? 1 : positive("factor", factors[pair]!));
    const kept = ramp(pair);
    return own * scale * (1 - kept) + own * kept;
  });
}

/** Cosines and sines of all pairs for one difference of positions. */
export interface Rotation {
  readonly cosines: Float64Array;
  readonly sines: Float64Array;
}

/** The rotation by `delta` positions; made once, used for all heads of a cell. */
export function rotationBy(rope: RopeSpec, delta: number, into?: Rotation): Rotation {
  const pairs = rope.dims / 2;
  const rotation = into ?? { cosines: new Float64Array(pairs), sines: new Float64Array(pairs) };
  for (let pair = 0; pair < pairs; pair++) {
    const angle = delta * rope.frequencies[pair]!;
    rotation.cosines[pair] = Math.cos(angle);
    rotation.sines[pair] = Math.sin(angle);
  }
  return rotation;
}

/**
 * Rotates one head in place; channels beyond `rope.dims` stay.
 *
 *     interleaved   (x0 x1) (x2 x3) ...        half   (x0 x4) (x1 x5) (x2 x6) (x3 x7)
 *
 * @param data holds the head from `offset`, at least `rope.dims` channels
 */
export function rotateHead(
  data: Float32Array | Float64Array,
  offset: number,
  rope: RopeSpec,
  rotation: Rotation,
): void {
  const pairs = rope.dims / 2;
  const stride = rope.pairing === "interleaved" ? 2 : 1;
  const distance = rope.pairing === "interleaved" ? 1 : pairs;
  for (let pair = 0; pair < pairs; pair++) {
    const first = offset + pair * stride;
    const x = data[first]!;
    const y = data[first + distance]!;
    data[first] = x * rotation.cosines[pair]! - y * rotation.sines[pair]!;
    data[first + distance] = x * rotation.sines[pair]! + y * rotation.cosines[pair]!;
  }
}
