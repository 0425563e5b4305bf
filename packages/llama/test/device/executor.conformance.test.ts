/** The ggml executor keeps every promise of an executor, on every device that is there. */
import { testExecutor } from "@kvfold/testkit";
import { DEVICES, mirror, mirrored } from "./devices.js";

const WAYS = [
  { name: "undo log on the device", options: {} },
  // the least scratch: one head at a time
  { name: "undo log on the host, head by head", options: { undoOnHost: true, scratchBytes: 1 } },
] as const;

// blocks of heads of 32 channels are not whole words, so q8_0 is refused there and tested where heads have 64
for (const device of DEVICES) {
  for (const { name, options } of WAYS) {
    testExecutor(`ggml on ${device}, ${name}`, () => mirrored(device, options), mirror(device), {
      // Vulkan refuses transposed values, whatever their type
      mustSupport: device.startsWith("Vulkan") ? [] : ["f32", "f16", "bf16"],
      randomRuns: 40,
      seed: 5,
    });
  }
}
