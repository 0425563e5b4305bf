/** Cells in device memory: folded by the ggml executor, looked at by read-back. */
import type { CellsAccess } from "../cells/access.js";
import type { HostTools } from "../cells/host.js";
import type { DeviceAddon } from "../native/device-addon.js";
import { createDeviceExecutor, type DeviceExecutorOptions } from "./executor.js";
import type { DeviceMemory } from "./memory.js";
import { readBackOps } from "./read-back.js";

/** @param host made on first use */
export function deviceAccess(
  addon: DeviceAddon,
  host: () => HostTools,
  memory: DeviceMemory,
  options: DeviceExecutorOptions = {},
): CellsAccess {
  const executor = createDeviceExecutor(addon, host, options);
  return {
    supports: (shape) => executor.supports(shape),
    prepare: (cells, plan, prepareOptions) => executor.prepare({ ...cells, memory }, plan, prepareOptions),
    ...readBackOps(addon, host, memory),
  };
}
