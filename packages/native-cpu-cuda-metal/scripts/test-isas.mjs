// The C++ tests of the CPU backend on instruction sets that this machine need not have: cross-compiled for 64-bit ARM
// (NEON) and run under qemu-aarch64-static, and for x86-64 run under qemu-x86_64-static as a processor without AVX.
// Installs nothing. A missing tool is said and its part skipped; KVFOLD_REQUIRE_ISAS=1 makes that a failure. AVX-512
// is emulated by neither: it runs only where the processor has it (test_kernels says whether it did).
//
//   node scripts/test-isas.mjs [cases]
import { spawnSync } from "node:child_process";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const jobs = process.env.KVFOLD_NATIVE_JOBS ?? "2";
const cases = process.argv[2] ?? "40";
if (!/^[1-9]\d{0,5}$/.test(cases)) stop(`"${cases}" is no number of cases`);

/** Program, and its argument: a number of random cases, or none. Emulators are slow. */
const PROGRAMS = [
  ["native/tests/test_kernels", "300"],
  ["native/tests/test_convert"],
  ["native/tests/test_backends", cases],
  ["native/tests/test_long_folds", "1"],
  ["native/tests/test_rope", cases],
  ["native/tests/test_faults", "8"],
  ["native/tests/test_fits", "1"],
  ["native/tests/test_attend", "4"],
  // the parts of attention that are short: words in the names of its tests
  ...["product", "exponential", "transpose", "statistics", "cholesky", "attend_joins", "fit_in_primal"].map(
    (part) => ["native/attention/tests/attention_tests", part],
  ),
];

function stop(message) {
  console.error(`[kvfold] ${message}`);
  process.exit(1);
}

function run(title, command, args) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: "inherit" });
  if (status === 0) return;
  stop(`${title}: ${error === undefined ? `${command} ended with ${status}` : error.message}`);
}

const exists = (command) => spawnSync(command, ["--version"], { stdio: "ignore" }).status === 0;

/** True when all tools are there; says which are not. */
function has(title, tools) {
  const missing = Object.entries(tools).filter(([command]) => !exists(command));
  if (missing.length === 0) return true;
  const names = missing.map(([command, debian]) => `${command} (Debian: ${debian})`).join(", ");
  console.log(`skipped: ${title}: ${names} not found`);
  if (process.env.KVFOLD_REQUIRE_ISAS === "1") process.exitCode = 1;
  return false;
}

function build(folder, options) {
  const common = ["-DKVFOLD_BUILD_TESTS=ON", "-DCMAKE_BUILD_TYPE=Release", "--log-level=WARNING"];
  run("configure", "cmake", ["-S", root, "-B", folder, ...common, ...options]);
  const targets = new Set(PROGRAMS.map(([path]) => basename(path)));
  run("build", "cmake", ["--build", folder, "--parallel", jobs, "--target", ...targets]);
}

function runAll(title, folder, emulator) {
  for (const [path, ...args] of PROGRAMS) {
    const [command, ...flags] = [...emulator, join(folder, path)];
    run(title, command, [...flags, ...args]);
  }
  console.log(`${title}: passed`);
}

if (!exists("cmake")) stop("CMake is missing (Debian: cmake)");

const arm = { "aarch64-linux-gnu-g++": "g++-aarch64-linux-gnu", "qemu-aarch64-static": "qemu-user-static" };
if (has("aarch64, NEON", arm)) {
  const folder = join(root, "build-aarch64");
  build(folder, [
    "-DCMAKE_SYSTEM_NAME=Linux",
    "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
    "-DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++",
  ]);
  runAll("aarch64, NEON", folder, ["qemu-aarch64-static", "-L", "/usr/aarch64-linux-gnu"]);
}

if (process.arch !== "x64") console.log("skipped: x86-64 without AVX: this is no x86-64 machine");
else if (has("x86-64 without AVX", { "qemu-x86_64-static": "qemu-user-static" })) {
  const folder = join(root, "build-tests");
  build(folder, []);
  runAll("x86-64 without AVX", folder, ["qemu-x86_64-static", "-cpu", "Nehalem"]);
}
