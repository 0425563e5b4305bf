// Builds the add-on with cmake-js. Does little when nothing has changed; says plainly what is missing.
//
//   node scripts/build-native.mjs [--debug] [--tests] [--sanitize=address,undefined]
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));

const works = (command, ...args) => spawnSync(command, args, { stdio: "ignore" }).status === 0;

function stop(message) {
  console.error(`[kvfold] ${message}`);
  process.exit(1);
}

function compilers() {
  if (process.env.CXX) return [process.env.CXX];
  return process.platform === "win32" ? ["cl", "clang-cl", "g++"] : ["c++", "g++", "clang++"];
}

function findTools() {
  if (!works("cmake", "--version")) {
    stop(
      "CMake is missing; install CMake 3.21 or newer (Debian: apt-get install cmake), then run this again",
    );
  }
  // Visual Studio's compiler is found by CMake itself, not by name
  if (process.platform !== "win32" && !compilers().some((name) => works(name, "--version"))) {
    stop(
      `no C++ compiler found (${compilers().join(", ")}); install one with C++17 (Debian: apt-get install g++)`,
    );
  }
  try {
    return createRequire(import.meta.url).resolve("cmake-js/bin/cmake-js");
  } catch {
    return stop("cmake-js is missing; run `npm ci` in the root of the repository first");
  }
}

function jobs() {
  const value = process.env.KVFOLD_NATIVE_JOBS ?? "2";
  if (!/^[1-9]\d{0,2}$/.test(value))
    stop(`KVFOLD_NATIVE_JOBS is "${value}", a number from 1 to 999 is needed`);
  return value;
}

function options() {
  const settings = { config: "Release", sanitize: "", tests: "OFF" };
  for (const argument of process.argv.slice(2)) {
    const sanitize = /^--sanitize=([a-z,]+)$/.exec(argument);
    if (argument === "--debug") settings.config = "RelWithDebInfo";
    else if (argument === "--tests") settings.tests = "ON";
    else if (sanitize) settings.sanitize = sanitize[1];
    else stop(`unknown argument ${argument}; known are --debug, --tests, --sanitize=address,undefined`);
  }
  return settings;
}

/** cmake-js takes new cache options only when it configures; an unchanged build directory is only built. */
function sameAsBefore(file, settings) {
  return existsSync(file) && readFileSync(file, "utf8") === settings;
}

const cmakeJs = findTools();
const { config, sanitize, tests } = options();
const out = join(root, sanitize === "" ? "build" : "build-sanitize");
const output = join(out, config, "kvfold_native.node");
const optionsFile = join(out, "kvfold-options.json");
const settings = JSON.stringify({
  config,
  sanitize,
  tests,
  cxx: process.env.CXX ?? "",
  node: process.version,
  cuda: process.env.KVFOLD_CUDA ?? "AUTO",
});
const command = sameAsBefore(optionsFile, settings) ? "build" : "rebuild";
const cache = [
  `--CDKVFOLD_SANITIZE=${sanitize}`,
  `--CDKVFOLD_BUILD_TESTS=${tests}`,
  `--CDKVFOLD_CUDA=${process.env.KVFOLD_CUDA ?? "AUTO"}`,
];
const flags = ["--out", out, "--config", config, ...cache];
const started = Date.now();
const run = spawnSync(
  process.execPath,
  [cmakeJs, command, "--parallel", jobs(), "--log-level", "error", ...flags],
  { cwd: root, stdio: ["ignore", "pipe", "pipe"], encoding: "utf8" },
);
if (run.status !== 0 || !existsSync(output)) {
  process.stderr.write(`${run.stdout ?? ""}${run.stderr ?? ""}`);
  stop("the native add-on could not be built; the compiler's words are above");
}
writeFileSync(optionsFile, settings);
console.log(`native add-on: ${output} (${((Date.now() - started) / 1000).toFixed(1)} s)`);
