/** The command table of `kvfold`; nothing else. */
import { createRequire } from "node:module";
import { Command } from "commander";
import { doctorCommand } from "./commands/doctor.js";
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
      new Command("inspect")
        .description("Show what is in a file")
        .addCommand(inspectModelCommand(context))
        .addCommand(inspectPlanCommand(context)),
    )
    .addCommand(listCommand(context))
    .addCommand(doctorCommand(context)),
);
