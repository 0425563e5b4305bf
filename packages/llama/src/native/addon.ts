/** What the compiled bridge exports (native/src), as TypeScript sees it. Only this package calls it. */

import type { DeviceAddon } from "./device-addon.js";

declare const brand: unique symbol;

/** A tagged handle of the bridge; nothing can be read from it here. */
export interface Handle<Kind extends string> {
  readonly [brand]: Kind;
}

export type ModelHandle = Handle<"model">;
export type ContextHandle = Handle<"context">;
export type CancelFlag = Handle<"flag">;
export type QueriesHandle = Handle<"queries">;

export interface RawModel {
  readonly architecture: string;
  readonly name: string;
  readonly parameters: number;
  /** Bytes of all weights. */
  readonly bytes: number;
  readonly layers: number;
  readonly embedding: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly trainedContext: number;
  readonly vocabularySize: number;
  readonly slidingWindow: number;
  /** `llama_rope_type`: -1 none, 0 pairs (2i, 2i+1), 2 pairs (i, i + dims/2), larger: several positions a token. */
  readonly ropeType: number;
  readonly quantization?: string;
  readonly bosToken: number;
  readonly addsBos: boolean;
  readonly hasVocabulary: boolean;
  readonly hasEncoder: boolean;
  readonly hasDecoder: boolean;
  readonly recurrent: boolean;
  readonly hybrid: boolean;
}

export interface RawContextOptions {
  readonly context: number;
  readonly sequences: number;
  readonly unified: boolean;
  readonly batch: number;
  readonly flashAttention: boolean;
  readonly cacheType: string;
  readonly threads: number;
}

/** Parameters of the RoPE node that feeds the cache. */
export interface RawRope {
  readonly dims: number;
  readonly mode: number;
  readonly originalContext: number;
  readonly base: number;
  readonly scale: number;
  readonly extFactor: number;
  readonly attnFactor: number;
  readonly betaFast: number;
  readonly betaSlow: number;
  /** [dims / 2] or null */
  readonly factors: Float32Array | null;
}

export interface RawLayer {
  readonly layer: number;
  readonly kvHeads: number;
  readonly queryHeads: number;
  readonly keyDim: number;
  readonly valueDim: number;
  readonly keyType: string;
  readonly valueType: string;
  readonly hadamardKey: number;
  readonly hadamardValue: number;
  readonly scale: number;
  readonly softCap: number;
  readonly sinks: boolean;
  /** What multiplies q . k before the softmax; 0 where the graph does not show the queries. */
  readonly queryScale: number;
  readonly rope: RawRope | null;
}

export interface RawContext {
  /** Cells that one sequence may use. */
  readonly contextSize: number;
  readonly batchSize: number;
  readonly streams: number;
  /** Cells of a stream. */
  readonly cells: number;
  /** Why the cache cannot be folded, or "". */
  readonly problem: string;
  readonly hasCache: boolean;
  /** A second cache holds the windowed layers. */
  readonly windowedPart: boolean;
  readonly valuesTransposed: boolean;
  /** The processor reaches all of the cache by address. */
  readonly hostMemory: boolean;
  /** Device that holds each layer. */
  readonly devices: readonly string[];
  readonly layers: readonly RawLayer[];
}

export interface RawCellMap {
  /** Ascending. [cells] */
  readonly slots: Uint32Array;
  /** [cells] */
  readonly positions: Int32Array;
  /** Cells that another sequence holds as well. */
  readonly shared: number;
}

export interface RawDecode {
  readonly sequence: number;
  /** Position of the first token. */
  readonly start: number;
  readonly tokens: Int32Array;
  /** 0: none, 1: of the last token, 2: of all. */
  readonly logits: 0 | 1 | 2;
  readonly logProbs: boolean;
  /** Logits before the first token, if known. */
  readonly previous: Float32Array | null;
  /** Samples the queries of these tokens. */
  readonly queries?: QueriesHandle | null;
}

export interface RawQueryOptions {
  readonly maxPositions: number;
  /** A full sample that needs more is refused. */
  readonly maxBytes: number;
  /** So many of them are the newest tokens; of those before, later ones are kept with a higher probability. */
  readonly newest: number;
  readonly seed: number;
  /** Indices into the layers of the cache. */
  readonly layers: Uint32Array;
}

export interface RawQueries {
  /** In an order in which every beginning holds newest and older ones in the same proportion. [samples] */
  readonly positions: Int32Array;
  /** As asked for; rows are f16 bits [samples, heads, keyDim]. */
  readonly layers: readonly { readonly rows: Uint16Array; readonly heads: number }[];
}

export interface RawDecoded {
  readonly logits: Float32Array | null;
  readonly logProbs: Float32Array | null;
  readonly attentionLength: number;
}

export interface LlamaAddon extends DeviceAddon {
  loadBackends(folder: string): void;
  createFlag(): CancelFlag;
  raiseFlag(flag: CancelFlag): void;
  /** @param deviceLayers layers whose weights and cache go to the devices that are loaded, the last ones first */
  loadModel(
    path: string,
    deviceLayers: number,
    flag: CancelFlag,
    onProgress?: (fraction: number) => void,
  ): Promise<ModelHandle>;
  freeModel(model: ModelHandle): Promise<void>;
  metaValue(model: ModelHandle, key: string): string | undefined;
  describeModel(model: ModelHandle): RawModel;
  tokenize(model: ModelHandle, text: string, bos: boolean, special: boolean): Promise<Int32Array>;
  detokenize(model: ModelHandle, tokens: Int32Array): Promise<string>;
  tokenText(model: ModelHandle, token: number): string;
  isEnd(model: ModelHandle, token: number): boolean;
  createContext(model: ModelHandle, options: RawContextOptions): Promise<ContextHandle>;
  freeContext(context: ContextHandle): Promise<void>;
  describeContext(context: ContextHandle): RawContext;
  decode(context: ContextHandle, job: RawDecode): Promise<RawDecoded>;
  cancel(context: ContextHandle): void;
  cellMap(context: ContextHandle, sequence: number): RawCellMap;
  recordedCellMap(context: ContextHandle, sequence: number): RawCellMap;
  lowestCells(context: ContextHandle, sequence: number, count: number): Uint32Array;
  /** @returns read calls that llama.cpp made, the fault points of `failAt` */
  commitCells(
    context: ContextHandle,
    sequence: number,
    positions: Int32Array,
    destinations: Uint32Array,
    failAt: number,
  ): Promise<number>;
  setBias(context: ContextHandle, sequence: number, slots: Uint32Array, bias: Float32Array): void;
  biasRewrites(context: ContextHandle): number;
  memoryOf(context: ContextHandle, sequence: number, frequencies: readonly Float64Array[]): unknown;
  stateBytes(context: ContextHandle, sequence: number): Promise<Uint8Array>;
  setState(
    context: ContextHandle,
    sequence: number,
    bytes: Uint8Array,
    destinations: Uint32Array,
  ): Promise<void>;
  /** Drops the cells at positions `from <= p < to`; -1: open. @returns false where llama.cpp cannot */
  removeRange(context: ContextHandle, sequence: number, from: number, to: number): boolean;
  largestPosition(context: ContextHandle, sequence: number): number;
  startQueries(context: ContextHandle, options: RawQueryOptions): QueriesHandle;
  takeQueries(queries: QueriesHandle): Promise<RawQueries>;
  /** Bytes that the sample occupies now. */
  queryBytes(queries: QueriesHandle): number;
  copyQueries(queries: QueriesHandle): QueriesHandle;
  /** The last tokens are gone. */
  takeBackQueries(queries: QueriesHandle, tokens: number): Promise<void>;
  freeQueries(queries: QueriesHandle): Promise<void>;
}
