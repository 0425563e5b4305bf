/** Makes sense of the flags of `kvfold bench kernels`, and lists what is to be timed. */
import { freemem } from "node:os";
import { type DType, KvfoldError } from "@kvfold/core";
import { type BenchShape, backendInfo, benchOperations, defaultThreads } from "@kvfold/native";

export interface KernelFlags {
  readonly op?: readonly string[];
  readonly backend?: readonly string[];
  readonly type: readonly DType[];
  readonly shape: readonly BenchShape[];
  readonly cells: readonly number[];
  readonly ratio: number;
  readonly threads?: number;
  readonly runs: number;
  readonly queryRows: number;
  readonly memory?: number;
  readonly json?: true;
}

/** Flags with every default filled in. */
export interface KernelSettings extends Required<Omit<KernelFlags, "json" | "memory">> {
  /** Bytes. */
  readonly memoryLimit: number;
  readonly json: boolean;
}

/** One operation of one backend on one cache. */
export interface KernelCase {
  readonly op: string;
  readonly backend: string;
  readonly type: DType;
  readonly layout: "rows" | "transposed";
  readonly shape: BenchShape;
  readonly cells: number;
}

/** Double and serial: there to be right, and thousands of times slower; or at home in the memory of a device. */
const NOT_TIMED: readonly string[] = ["reference", "cuda"];

/** @throws KvfoldError KVFOLD_ARGUMENT, KVFOLD_NATIVE_MISSING */
export function kernelSettings(flags: KernelFlags): KernelSettings {
  const ops = benchOperations();
  const info = backendInfo();
  const backends = info.loaded ? info.backends : [];
  refuseUnknown("--op", flags.op, ops);
  refuseUnknown("--backend", flags.backend, backends);
  const fewest = Math.min(...flags.cells);
  if (flags.ratio > fewest) {
    throw new KvfoldError("KVFOLD_RATIO", `a ratio of ${flags.ratio} leaves no cell of ${fewest}`, {
      hint: "ask for a smaller ratio, or for more cells",
    });
  }
  const { memory, json, ...rest } = flags;
  return {
    ...rest,
    op: flags.op ?? ops,
    backend: flags.backend ?? backends.filter((name) => !NOT_TIMED.includes(name)),
    threads: flags.threads ?? defaultThreads(),
    memoryLimit: memory === undefined ? Math.floor(freemem() / 2) : memory * 2 ** 30,
    json: json === true,
  };
}

/** Every combination, those that do not exist included: the native side says so. */
export function kernelCases(settings: KernelSettings): KernelCase[] {
  const caches = settings.shape.flatMap((shape) =>
    settings.cells.flatMap((cells) =>
      settings.type.flatMap((type) =>
        (["rows", "transposed"] as const).map((layout) => ({ shape, cells, type, layout })),
      ),
    ),
  );
  return settings.op.flatMap((op) =>
    settings.backend.flatMap((backend) => caches.map((cache) => ({ op, backend, ...cache }))),
  );
}

/** 30x3x64 */
export const shapeName = ({ layers, kvHeads, headDim }: BenchShape): string =>
  `${layers}x${kvHeads}x${headDim}`;

/** Most layers, KV heads and channels of a head that the add-on takes. */
const LARGEST = [4096, 4096, 8192] as const;

/** Reads `30x3x64`. @throws KvfoldError KVFOLD_ARGUMENT */
export function readShape(text: string): BenchShape {
  const numbers = /^\d{1,4}x\d{1,4}x\d{1,4}$/.test(text) ? text.split("x").map(Number) : [];
  const fits = numbers.length === 3 && numbers.every((each, i) => each >= 1 && each <= LARGEST[i]!);
  if (fits) return { layers: numbers[0]!, kvHeads: numbers[1]!, headDim: numbers[2]! };
  throw new KvfoldError("KVFOLD_ARGUMENT", `--shape does not take ${JSON.stringify(text)}`, {
    hint: "give layers x KV heads x channels of a head: --shape 30x3x64, or 30x3x64,32x8x128",
  });
}

// ---------------------------------------------------------------------------------------------------------------

function refuseUnknown(option: string, asked: readonly string[] | undefined, known: readonly string[]): void {
  const unknown = asked?.find((word) => !known.includes(word));
  if (unknown === undefined) return;
  throw new KvfoldError("KVFOLD_ARGUMENT", `${option} does not take ${JSON.stringify(unknown)}`, {
    hint: `this build has ${known.join(", ")}`,
  });
}
