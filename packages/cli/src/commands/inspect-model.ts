/** `kvfold inspect model`: what a GGUF file holds, what its cache costs, and whether it can be folded. */
import { cellBytes } from "@kvfold/core";
import { type LlamaModel, loadModel } from "@kvfold/llama";
import { Command } from "commander";
import { onInterrupt } from "../interrupt.js";
import { type ModelFile, resolveModelFile } from "../model-file.js";
import * as read from "../options.js";
import type { CommandContext } from "../run.js";
import { formatBytes, formatCount, formatWhole } from "../ui/numbers.js";
import { printable } from "../ui/printable.js";
import { createProgress } from "../ui/progress.js";
import type { Streams } from "../ui/streams.js";
import { styleFor } from "../ui/style.js";
import { wrap } from "../ui/table.js";

interface Flags {
  readonly cacheType: "f16" | "q8_0";
  readonly flashAttention: "on" | "off";
  readonly json?: true;
}

/** What is known once a context was made. */
interface CacheFacts {
  readonly type: string;
  readonly flashAttention: string;
  readonly layers: number;
  readonly kvHeads: number;
  readonly keyDim: number;
  readonly valueDim: number;
  readonly bytesPerToken: number;
  readonly bytesAtContext: number;
}

const EXAMPLES = `
Examples:
  kvfold inspect model nano
  kvfold inspect model model.gguf --cache-type q8_0 --json`;

/** Enough to ask for the shape of the cache. */
const SMALL_CONTEXT = 256;

export function inspectModelCommand({ streams }: CommandContext): Command {
  return new Command("model")
    .description("Facts of a GGUF file, the cost of its cache, and whether it can be folded")
    .argument("<file>", "a GGUF file, or nano, the embedded model")
    .option("--cache-type <type>", "f16 or q8_0", read.oneOf("--cache-type", ["f16", "q8_0"]), "f16")
    .option("--flash-attention <state>", "on or off", read.oneOf("--flash-attention", ["on", "off"]), "on")
    .option("--json", "print one JSON object")
    .option("--verbose", "print stack traces of errors")
    .addHelpText("after", EXAMPLES)
    .action(async (name: string, flags: Flags) => {
      const interrupt = onInterrupt();
      const progress = createProgress(streams, flags.json === true);
      try {
        const file = await resolveModelFile(name);
        progress.now("loading the model");
        const model = await loadModel({ modelPath: file.path, signal: interrupt.signal });
        try {
          const cache = model.info.supported === true ? await cacheFacts(model, flags) : null;
          progress.stop();
          if (flags.json === true) streams.out(JSON.stringify(asJson(file, model.info, cache)));
          else printFacts(file, model.info, cache, streams);
        } finally {
          await model.dispose();
        }
      } finally {
        progress.stop();
        interrupt.dispose();
      }
    });
}

// ---------------------------------------------------------------------------------------------------------------

async function cacheFacts(model: LlamaModel, flags: Flags): Promise<CacheFacts> {
  const { cacheType, flashAttention } = flags;
  const context = await model.createContext({ contextSize: SMALL_CONTEXT, cacheType, flashAttention });
  try {
    const { shape } = context.sequence();
    const bytesPerToken = cellBytes(shape);
    const [first] = shape.layers;
    return {
      type: cacheType,
      flashAttention,
      layers: shape.layers.length,
      kvHeads: first!.kvHeads,
      keyDim: first!.keyDim,
      valueDim: first!.valueDim,
      bytesPerToken,
      bytesAtContext: bytesPerToken * model.info.trainedContext,
    };
  } finally {
    await context.dispose();
  }
}

function asJson(file: ModelFile, info: LlamaModel["info"], cache: CacheFacts | null): object {
  const { supported, ...facts } = info;
  return {
    command: "inspect-model",
    model: file.name,
    ...facts,
    supported: supported === true,
    reason: supported === true ? null : supported,
    cache,
  };
}

function printFacts(
  file: ModelFile,
  info: LlamaModel["info"],
  cache: CacheFacts | null,
  streams: Streams,
): void {
  const style = styleFor(streams);
  const lines: [string, string][] = [
    ["file", `${info.path} (${formatBytes(info.fileBytes)})`],
    ["architecture", info.architecture],
    ["parameters", formatCount(info.parameters)],
    ...(info.quantization === undefined ? [] : ([["quantization", info.quantization]] as [string, string][])),
    ["layers", `${info.layers}, embedding ${formatWhole(info.embedding)}`],
    ["vocabulary", `${formatWhole(info.vocabularySize)} tokens`],
    ["context", `${formatWhole(info.trainedContext)} tokens in training`],
  ];
  if (cache !== null) {
    lines.push(
      [
        "cache",
        `${cache.type}, ${cache.kvHeads} KV heads of ${cache.keyDim} + ${cache.valueDim} channels in ${cache.layers} layers`,
      ],
      ["a token", formatBytes(cache.bytesPerToken)],
      ["full context", formatBytes(cache.bytesAtContext)],
    );
  }
  lines.push([
    "can be folded",
    info.supported === true ? style.good("yes") : style.bad(`no: ${info.supported}`),
  ]);
  const longest = Math.max(...lines.map(([title]) => title.length));
  streams.out(style.strong(printable(info.name || file.name)));
  for (const [title, text] of lines) {
    const [first, ...more] = wrap(printable(text), streams.width - longest - 4);
    streams.out(`  ${title.padEnd(longest)}  ${first}`);
    for (const line of more) streams.out(`  ${" ".repeat(longest)}  ${line}`);
  }
}
