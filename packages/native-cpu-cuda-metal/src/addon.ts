/** What the compiled add-on exports, as TypeScript sees it. Only this package calls it. */
import type { FitOutcome, MergePlan, QueryLayer } from "@kvfold/core";

declare const brand: unique symbol;

/** A tagged pointer of the add-on; nothing can be read from it here. */
export interface External<Kind extends string> {
  readonly [brand]: Kind;
}

export type MemoryExternal = External<"memory">;
export type FoldExternal = External<"fold">;
export type FlagExternal = External<"flag">;

/** One layer in the words of `kvfold_memory_layer` (native/include/kvfold/memory.h). */
export interface RawLayer {
  readonly kvHeads: number;
  readonly keyDim: number;
  readonly valueDim: number;
  readonly keyType: number;
  readonly valueType: number;
  readonly valueTransposed: boolean;
  readonly ropePairing: number;
  readonly ropeDims: number;
  /** [ropeDims / 2] */
  readonly ropeFrequencies: Float64Array | null;
  readonly hadamardKey: number;
  readonly hadamardValue: number;
}

/** What every job is told. */
export interface RawJob {
  readonly memory: MemoryExternal;
  readonly backend: string;
  readonly threads: number;
  readonly flag: FlagExternal | null;
}

export interface RawPrepare extends RawJob {
  readonly plan: MergePlan;
  readonly slots: Uint32Array;
  readonly positions: Int32Array;
  readonly sources: readonly (Int32Array | null)[];
  readonly destinations: Uint32Array;
  readonly failAt: number | null;
  /** Bytes that fits may work in; null: no limit. */
  readonly memoryLimit: number | null;
  /** For a fit: bias of the cells [cells]. */
  readonly bias: Float32Array | null;
  readonly queries: RawSample | null;
  /** Known attention outputs by layer [kvHeads, rows, valueDim]. */
  readonly outputs: readonly (Float32Array | null)[] | null;
}

export interface RawShift extends RawJob {
  readonly slots: Uint32Array;
  readonly deltas: Int32Array;
  /** [kvHeads, cells] by layer, or null: as `deltas`. */
  readonly layerDeltas: readonly (Int32Array | null)[];
  readonly failAt: number | null;
}

/** A query sample without its name. */
export interface RawSample {
  readonly positions: Int32Array;
  readonly layers: readonly (QueryLayer | null)[];
}

export interface RawPrepared {
  readonly fold: FoldExternal;
  readonly points: number;
  readonly fits: readonly FitOutcome[];
  readonly heldBytes: number;
  readonly workingBytes: number;
}

export interface RawRead extends RawJob {
  readonly layer: number;
  readonly slots: Uint32Array;
  readonly positions: Int32Array | null;
  /** [kvHeads, cells] */
  readonly sources: Int32Array | null;
}

export interface RawTurn extends RawJob {
  readonly layer: number;
  readonly positions: Int32Array;
  readonly queries: QueryLayer;
  readonly last: number;
  readonly horizon: number;
  readonly maxRows: number;
}

export interface RawAttend extends RawJob {
  readonly memoryLimit: number | null;
  readonly layer: number;
  readonly slots: Uint32Array;
  readonly rows: number;
  /** [kvHeads, rows, keyDim] */
  readonly queries: Float32Array;
  readonly bias: Float32Array | null;
  readonly outputs: boolean;
}

export interface RawAttention {
  readonly maximum: Float32Array;
  readonly mean: Float32Array;
  readonly rms: Float32Array;
  readonly outputs: Float32Array | null;
  readonly workingBytes: number;
}

export interface RawBench {
  readonly backend: string;
  readonly op: string;
  readonly type: string;
  readonly valueTransposed: boolean;
  readonly layers: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly cells: number;
  readonly ratio: number;
  readonly threads: number;
  readonly runs: number;
  readonly queryRows: number;
  readonly memoryLimit: number | null;
  readonly flag: FlagExternal | null;
}

/** Times in seconds. */
export interface RawBenchRow {
  readonly variant: string;
  readonly undoLog: boolean;
  readonly bytes: number;
  readonly operations: number;
  readonly median: number;
  readonly minimum: number;
  readonly maximum: number;
  readonly ratio: number;
}

export interface RawBenchResult {
  readonly rows: readonly RawBenchRow[];
  readonly compute: boolean;
  readonly copy: number;
  readonly read: number;
  readonly peak: number;
  readonly skipped: string;
  readonly isa: string;
}

export interface NativeAddon {
  info(): {
    readonly abi: number;
    readonly isa: string;
    readonly attentionIsa: string;
    readonly hardwareThreads: number;
    readonly maxThreads: number;
    readonly backends: readonly string[];
    /** Devices of the CUDA backend, or why there is none. */
    readonly cuda: string;
  };
  supports(backend: string, layers: readonly RawLayer[]): true | string;
  createMemory(
    layers: readonly RawLayer[],
    capacity: number,
    keys: readonly Uint8Array[],
    values: readonly Uint8Array[],
  ): MemoryExternal;
  releaseMemory(memory: MemoryExternal): void;
  describeMemory(memory: unknown): { readonly capacity: number; readonly layers: readonly RawLayer[] };
  createFlag(): FlagExternal;
  raiseFlag(flag: FlagExternal): void;
  prepare(request: RawPrepare): Promise<RawPrepared>;
  /** A rope shift, with the same steps as a fold. */
  prepareShift(request: RawShift): Promise<RawPrepared>;
  /** @returns fault points passed */
  commit(fold: FoldExternal, threads: number, failAt: number | null): Promise<number>;
  rollback(fold: FoldExternal, threads: number): Promise<number>;
  dispose(fold: FoldExternal): Promise<void>;
  readRows(
    request: RawRead & {
      readonly kind: "keys" | "values";
      readonly unrotate: boolean;
      readonly undoHadamard: boolean;
    },
  ): Promise<Float32Array>;
  keyStats(request: RawRead): Promise<{ readonly norm: Float32Array; readonly meanCosine: Float32Array }>;
  turnQueries(request: RawTurn): Promise<Float32Array>;
  attend(request: RawAttend): Promise<RawAttention>;
  benchOperations(): string[];
  bench(request: RawBench): Promise<RawBenchResult>;
}
