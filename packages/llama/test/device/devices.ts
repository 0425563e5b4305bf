/** Devices that the tests run on: the processor, and those of KVFOLD_LLAMA_DEVICE_LIBRARY if it is set. */
import type { CacheShape, Executor, FoldTransaction, MemoryTarget } from "@kvfold/core";
import type { Adapted } from "@kvfold/testkit";
import { hostTools } from "../../src/cells/host.js";
import { createDeviceExecutor, type DeviceExecutorOptions } from "../../src/device/executor.js";
import {
  createDeviceMemory,
  type DeviceMemory,
  type DeviceTarget,
  refusedOn,
} from "../../src/device/memory.js";
import { loadBridge } from "../../src/native/bridge.js";
import { KEYS, type TensorKind, VALUES } from "../../src/native/device-addon.js";
import { layersOnDevices } from "../../src/native/devices.js";

export const { addon } = loadBridge();
layersOnDevices(addon, {});

/** Names; the processor first. */
export const DEVICES: readonly string[] = [
  "CPU",
  ...addon
    .devices()
    .filter(({ kind }) => kind !== "processor")
    .map(({ name }) => name),
];

const tools = hostTools(1);
export const host = (): typeof tools => tools;

/** Tensors of a device that hold what typed arrays hold. */
export interface Mirror {
  readonly device: DeviceTarget;
  readonly memory: MemoryTarget;
}

function each(
  { layers }: Pick<CacheShape, "layers">,
  visit: (layer: number, kind: TensorKind) => void,
): void {
  for (const layer of layers.keys()) for (const kind of [KEYS, VALUES] as const) visit(layer, kind);
}

const bytesOf = (memory: MemoryTarget, layer: number, kind: TensorKind): Uint8Array =>
  (kind === KEYS ? memory.keys : memory.values)[layer]!;

/** Tensors with the bytes of the memory. */
export function uploaded(device: string, memory: MemoryTarget): DeviceMemory {
  const made = createDeviceMemory(addon, device, memory.shape.layers, memory.capacity, 1);
  each(memory.shape, (layer, kind) =>
    addon.uploadTensor(made.tensors, layer, kind, bytesOf(memory, layer, kind)),
  );
  return made;
}

/** For `testExecutor`. */
export const mirror =
  (device: string) =>
  (memory: MemoryTarget): Adapted<Mirror> => ({
    target: { memory, device: { ...memory, memory: uploaded(device, memory) } },
  });

/** An executor whose every step shows in the arrays, as the conformance suite wants it. */
export function mirrored(device: string, options: DeviceExecutorOptions = {}): Executor<Mirror> {
  const executor = createDeviceExecutor(addon, host, options);
  return {
    name: executor.name,
    supports: (shape) => refusedOn(device, shape) ?? executor.supports(shape),
    async prepare({ device: target, memory }, plan, prepareOptions): Promise<FoldTransaction> {
      const show = (): void =>
        each(memory.shape, (layer, kind) =>
          bytesOf(memory, layer, kind).set(addon.downloadTensor(target.memory.tensors, layer, kind)),
        );
      const transaction = await executor.prepare(target, plan, prepareOptions);
      show();
      const shown = (step: () => Promise<void>) => async (): Promise<void> => step().finally(show);
      return {
        fits: transaction.fits,
        commit: shown(transaction.commit),
        rollback: shown(transaction.rollback),
        dispose: transaction.dispose,
      };
    },
  };
}
