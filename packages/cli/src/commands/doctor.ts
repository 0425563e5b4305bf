/** `kvfold doctor`: what works on this machine, and how to mend what does not. */
import { availableParallelism } from "node:os";
import { isKvfoldError } from "@kvfold/core";
import { LLAMA_VERSION, llamaInfo, loadModel, PACKAGE_VERSION } from "@kvfold/llama";
import { nanoModelPath } from "@kvfold/model-nano";
import { backendInfo, defaultThreads, physicalCores } from "@kvfold/native";
import { Command } from "commander";
import { resolveModelFile } from "../model-file.js";
import type { CommandContext } from "../run.js";
import { EXIT } from "../ui/failure.js";
import { plural } from "../ui/numbers.js";
import { createProgress } from "../ui/progress.js";
import type { Streams } from "../ui/streams.js";
import { styleFor } from "../ui/style.js";
import { wrap } from "../ui/table.js";

/** One thing that was looked at. The names of the fields are a contract with readers of the JSON. */
interface Check {
  readonly name: string;
  readonly ok: boolean;
  readonly detail: string;
  /** What to do, or an empty string. */
  readonly fix: string;
}

const EXAMPLES = `
Examples:
  kvfold doctor
  kvfold doctor --json`;

export function doctorCommand({ streams }: CommandContext): Command {
  return new Command("doctor")
    .description("Check what works on this machine, and how to mend what does not")
    .option("--json", "print one JSON object")
    .option("--verbose", "print stack traces of errors")
    .addHelpText("after", EXAMPLES)
    .action(async (flags: { json?: true }) => {
      const progress = createProgress(streams, flags.json === true || !streams.live);
      progress.now("looking around");
      const checks = [
        nodeCheck(process.versions.node),
        processorCheck(),
        nativeCheck(),
        librariesCheck(),
        await modelCheck(),
        await liveCacheCheck(),
      ];
      progress.stop();
      const ok = checks.every((check) => check.ok);
      if (flags.json === true) streams.out(JSON.stringify({ command: "doctor", ok, checks }));
      else printChecks(checks, ok, streams);
      if (!ok) process.exitCode = EXIT.failed;
    });
}

/** Node versions that the project is tested with: 20.19 and later 20s, 22.12 and everything after. */
export function nodeCheck(version: string): Check {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const ok = (major === 20 && minor >= 19) || (major === 22 && minor >= 12) || major > 22;
  return check("node", ok, `Node ${version}`, "install Node 20.19 or later, or 22.12 or later");
}

// ---------------------------------------------------------------------------------------------------------------

const BUILD = "npm run build in the repository of kvfold; it needs CMake and a C++17 compiler";

function check(name: string, ok: boolean, detail: string, fix: string): Check {
  return { name, ok, detail, fix: ok ? "" : fix };
}

function processorCheck(): Check {
  const logical = availableParallelism();
  const detail = `${plural(physicalCores(), "physical core")}, ${plural(logical, "logical processor")}; ${plural(defaultThreads(), "thread")} by default`;
  return check("processor", true, detail, "");
}

function nativeCheck(): Check {
  const info = backendInfo();
  if (!info.loaded) return check("native add-on", false, info.reason, BUILD);
  const detail = `${info.backends.join(", ")}; ${info.isa}; ${info.cuda}; ${info.path}`;
  return check("native add-on", true, detail, "");
}

function librariesCheck(): Check {
  const info = llamaInfo();
  if (info.loaded) {
    return check("llama.cpp", true, `llama.cpp ${info.llamaVersion} from ${info.folder}`, "");
  }
  const install = `npm ci, which installs @node-llama-cpp/linux-x64 ${PACKAGE_VERSION} with llama.cpp ${LLAMA_VERSION}`;
  return check("llama.cpp", false, info.reason, info.code === "KVFOLD_NATIVE_MISSING" ? BUILD : install);
}

async function modelCheck(): Promise<Check> {
  const detail = await resolveModelFile("nano").then(
    () => null,
    (error: Error) => error.message,
  );
  return check(
    "embedded model",
    detail === null,
    detail ?? nanoModelPath,
    "install @kvfold/model-nano again",
  );
}

/** Loads the embedded model, which runs the self-test of the live cache first. */
async function liveCacheCheck(): Promise<Check> {
  const name = "live cache";
  try {
    const model = await loadModel({ modelPath: nanoModelPath });
    try {
      const { supported } = model.info;
      const detail =
        supported === true ? "the self-test passed, the embedded model can be folded" : supported;
      return check(name, supported === true, detail, "report this: the embedded model is meant to be folded");
    } finally {
      await model.dispose();
    }
  } catch (error) {
    const detail = error instanceof Error ? error.message : String(error);
    const hint = isKvfoldError(error) ? error.hint : undefined;
    return check(name, false, detail, hint ?? "mend what fails above first");
  }
}

function printChecks(checks: readonly Check[], ok: boolean, streams: Streams): void {
  const style = styleFor(streams);
  const longest = Math.max(...checks.map(({ name }) => name.length));
  const indent = " ".repeat(longest + 8);
  for (const each of checks) {
    const [first, ...more] = wrap(each.detail, streams.width - indent.length);
    const mark = each.ok ? style.good("ok  ") : style.bad("FAIL");
    streams.out(`${mark}  ${each.name.padEnd(longest)}  ${first}`);
    for (const line of more) streams.out(indent + line);
    if (each.fix !== "")
      for (const line of wrap(`fix: ${each.fix}`, streams.width - indent.length)) streams.out(indent + line);
  }
  streams.out("");
  streams.out(ok ? "everything works" : "something does not work; see the fixes above");
}
