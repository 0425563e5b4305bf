/** Contexts whose cache is folded by the ggml executor, and beside each one that the native executor folds. */
import type { CacheView, MergePlan } from "@kvfold/core";
import { onTestFinished } from "vitest";
import type { ContextOptions } from "../../src/context/options.js";
import { type LlamaContext, type LlamaSequence, loadModel } from "../../src/index.js";
import { type TinyModelSpec, tinyModelFile } from "../../src/tiny-model/tiny-model.js";
import { temporaryFile } from "../fixtures.js";

/** A context on a device; on the processor the executor is asked for. */
export async function openOn(
  device: string,
  spec: TinyModelSpec,
  options: ContextOptions = {},
): Promise<LlamaContext> {
  const modelPath = await temporaryFile(tinyModelFile(spec));
  const model = await loadModel({ modelPath, gpuLayers: device === "CPU" ? 0 : 99 });
  onTestFinished(() => model.dispose());
  const context = await model.createContext({
    ...{ contextSize: 512, threads: 1, executor: "ggml" },
    ...options,
  });
  onTestFinished(() => context.dispose());
  return context;
}

export interface Twins {
  readonly context: LlamaContext;
  /** Folded by the ggml executor. */
  readonly device: LlamaSequence;
  /** The same cells in memory of the processor, folded by the native executor. */
  readonly host: LlamaSequence;
}

/** Reads tokens on the device, and puts the same state into a context of the processor. */
export async function twins(
  device: string,
  spec: TinyModelSpec,
  options: ContextOptions,
  tokens: readonly number[],
): Promise<Twins> {
  const context = await openOn(device, spec, options);
  const beside = await openOn("CPU", spec, { ...options, executor: "auto" });
  const [own, other] = [context.sequence(), beside.sequence()];
  await own.prefill(tokens);
  await other.restore(await own.snapshot());
  return { context, device: own, host: other };
}

/** One plan, applied to both. */
export async function applyBoth(
  { device, host }: Pick<Twins, "device" | "host">,
  make: (view: CacheView) => MergePlan,
): Promise<MergePlan> {
  const [own, other] = [await device.lease(), await host.lease()];
  try {
    const plan = make(own);
    await device.apply(own, plan);
    await host.apply(other, plan);
    return plan;
  } finally {
    own.release();
    other.release();
  }
}
