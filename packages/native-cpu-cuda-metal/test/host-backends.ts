/** Backends of the loaded add-on that work on memory of the processor: what tests run on. */
import type { NativeBackend } from "../src/executor.js";
import { loadAddon } from "../src/load.js";

const HOST: readonly NativeBackend[] = ["cpu", "reference", "metal"];

/** `metal` only where it was built. */
export const HOST_BACKENDS: readonly NativeBackend[] = HOST.filter((name) =>
  loadAddon().info().backends.includes(name),
);
