/** What the parts of a context share. */
import { nativeMemoryFromExternal } from "@kvfold/native";
import type { CellsAccess } from "../cells/access.js";
import { type HostTools, hostAccess, hostTools } from "../cells/host.js";
import { deviceAccess } from "../device/access.js";
import type { ContextHandle, LlamaAddon, RawContext, RawModel } from "../native/addon.js";
import type { SequenceState } from "../sequence/state.js";
import type { Gate } from "./gate.js";
import type { CacheLayout } from "./shape.js";

export interface ContextState {
  readonly addon: LlamaAddon;
  readonly handle: ContextHandle;
  readonly gate: Gate;
  readonly raw: RawContext;
  readonly model: RawModel;
  readonly sequenceCount: number;
  /** null: the cache cannot be folded. */
  readonly layout: CacheLayout | null;
  readonly tokenText: ((token: number) => string) | null;
  /** What introduces a second reading; none without a vocabulary. */
  readonly repeatInstruction: Int32Array;
  readonly textOf: (tokens: readonly number[]) => Promise<string>;
  readonly sequences: Map<number, SequenceState>;
  /** To the cells of the stream of a sequence; made on first use, so that a model runs without the native package. */
  readonly access: (sequence: number) => CellsAccess;
  disposed: boolean;
}

/** How the memory of a cache is reached. */
export interface Reach {
  /** The native package on the processor, made once and on first use. */
  readonly host: () => HostTools;
  /** Through the devices of the cache, instead of by address. */
  readonly byDevice: boolean;
}

/** Through devices where the processor has no address for the cache, or where that is asked for. */
export function reachOf(raw: RawContext, forced: boolean, threads: number): Reach {
  let tools: HostTools | undefined;
  const host = (): HostTools => {
    tools ??= hostTools(threads);
    return tools;
  };
  return { host, byDevice: forced || !raw.hostMemory };
}

/** Access to each stream, made once. */
export function lazyAccess(
  { addon, handle, raw, layout }: Pick<ContextState, "addon" | "handle" | "raw" | "layout">,
  { host, byDevice }: Reach,
): ContextState["access"] {
  const made = new Map<number, CellsAccess>();
  return (sequence) => {
    const stream = raw.streams > 1 ? sequence : 0;
    const known = made.get(stream);
    if (known !== undefined) return known;
    const { layers, frequencies } = layout!;
    const capacity = raw.cells;
    const access = byDevice
      ? deviceAccess(addon, host, {
          ...{ tensors: addon.cacheTensors(handle, sequence, frequencies), capacity, layers },
        })
      : hostAccess(
          host(),
          nativeMemoryFromExternal(
            addon.memoryOf(handle, sequence, frequencies),
            { layers, cells: 0 },
            capacity,
          ),
        );
    made.set(stream, access);
    return access;
  };
}
