/** The command table of `kvfold`; nothing else. */
import { createRequire } from "node:module";
import { Command } from "commander";
import { benchDecodeCommand } from "./commands/bench-decode.js";
import { benchKernelsCommand } from "./commands/bench-kernels.js";
import { doctorCommand } from "./commands/doctor.js";
import { evalCompareCommand } from "./commands/eval-compare.js";
import { evalKlCommand } from "./commands/eval-kl.js";
import { evalPasskeyCommand } from "./commands/eval-passkey.js";
import { inspectModelCommand } from "./commands/inspect-model.js";
import { inspectPlanCommand } from "./commands/inspect-plan.js";
import { listCommand } from "./commands/list.js";
import { passkeyCommand } from "./commands/passkey.js";
import { run } from "./run.js";

const { version } = createRequire(import.meta.url)("../package.json") as { version: string };

await run((context) =>
  new Command("kvfold")
    .description("Fold the KV cache of an unmodified llama.cpp model, live and in place.")
    .version(version)
    .addCommand(passkeyCommand(context))
    .addCommand(
      new Command("eval")
        .description("Measure strategies on a grid of ratios and lengths")
        .addCommand(evalKlCommand(context))
        .addCommand(evalPasskeyCommand(context))
        .addCommand(evalCompareCommand(context)),
    )
    .addCommand(
      new Command("bench")
        .description("Measure the speed of the kernels, and of decoding after a fold")
        .addCommand(benchKernelsCommand(context))
        .addCommand(benchDecodeCommand(context)),
    )
    .addCommand(
      new Command("inspect")
        .description("Show what is in a file")
        .addCommand(inspectModelCommand(context))
        .addCommand(inspectPlanCommand(context)),
    )
    .addCommand(listCommand(context))
    .addCommand(doctorCommand(context)),
);
