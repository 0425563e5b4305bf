// Native code under sanitizers: C++ tests and the add-on (hostile arguments, faults, ends of threads) with
// AddressSanitizer + UndefinedBehaviorSanitizer, then the C++ tests with ThreadSanitizer.
//
//   node scripts/test-sanitize.mjs [--quick]        --quick: C++ tests with few cases, in the build of the fuzz target
import { spawnSync } from "node:child_process";
import { dirname, isAbsolute, join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildWithClang, clangFolder } from "./clang-build.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const jobs = process.env.KVFOLD_NATIVE_JOBS ?? "2";
const compiler = process.env.CXX ?? "g++";

function run(command, args, env = {}) {
  const options = { cwd: root, stdio: "inherit", env: { ...process.env, ...env } };
  const { status, error } = spawnSync(command, args, options);
  if (status === 0) return;
  console.error(`[kvfold] ${error === undefined ? `${command} ended with ${status}` : error.message}`);
  process.exit(1);
}

function timed(title, work) {
  const started = Date.now();
  work();
  console.log(`${title}: ${((Date.now() - started) / 1000).toFixed(0)} s`);
}

const runTests = (folder, env, ...filter) =>
  run("ctest", ["--test-dir", folder, "--output-on-failure", ...filter], env);

/** Parts of attention_tests that take less than a second: words in the names of its tests. */
const QUICK_PARTS = [
  ...["product", "exponential", "transpose", "statistics", "cholesky", "attend_joins", "writes_only"],
  ...["cancelled", "refuses", "fit_guards", "fit_may", "fit_brings", "fit_in_primal", "fit_has_the_same"],
];

/** Programs of the quick run, and their numbers of cases where they take one. */
const QUICK = [
  ["native/tests", "test_convert"],
  ["native/tests", "test_kernels", "100"],
  ["native/tests", "test_pool"],
  ["native/tests", "test_plan_check"],
  ["native/tests", "test_backends", "12"],
  ["native/tests", "test_long_folds", "1"],
  ["native/tests", "test_rope", "12"],
  ["native/tests", "test_faults", "2"],
  ["native/tests", "test_fits", "1"],
  ["native/tests", "test_attend", "3"],
  ...QUICK_PARTS.map((part) => ["native/attention/tests", "attention_tests", part]),
];

function runQuick() {
  const problem = buildWithClang([...new Set(QUICK.map(([, name]) => name))], jobs);
  if (problem !== "") {
    console.error(`[kvfold] ${problem}`);
    process.exit(1);
  }
  for (const [folder, name, ...args] of QUICK)
    run(join(clangFolder, folder, name), args, { UBSAN_OPTIONS: "print_stacktrace=1" });
}

if (process.argv.includes("--quick")) {
  timed("C++ tests under address, undefined, with few cases", runQuick);
  process.exit();
}

/** The sanitizers' libraries have to be in the process before Node is; without GCC they are elsewhere. */
function runtimes() {
  if (process.platform !== "linux") return null;
  const paths = ["libasan.so", "libubsan.so"].map((name) => {
    const found = spawnSync(compiler, [`-print-file-name=${name}`], { encoding: "utf8" });
    return (found.stdout ?? "").trim();
  });
  return paths.every((path) => isAbsolute(path)) ? paths.join(" ") : null;
}

timed("address, undefined", () => {
  const script = join(root, "scripts", "build-native.mjs");
  run(process.execPath, [script, "--debug", "--tests", "--sanitize=address,undefined"]);
  runTests(join(root, "build-sanitize"), { UBSAN_OPTIONS: "print_stacktrace=1" });
});

timed("add-on under address, undefined", () => {
  const preload = runtimes();
  if (preload === null) {
    if (process.env.KVFOLD_REQUIRE_NATIVE === "1") process.exitCode = 1;
    return console.log("skipped: GCC's sanitizer libraries were not found");
  }
  run(process.execPath, [vitest(), "run", "test/hostile", "test/process", "src/transaction", "src/fit"], {
    LD_PRELOAD: preload,
    ASAN_OPTIONS: "detect_leaks=0", // Node itself keeps what it allocates
    KVFOLD_NATIVE_PATH: join(root, "build-sanitize", "RelWithDebInfo", "kvfold_native.node"),
  });
});

timed("thread", () => {
  const folder = join(root, "build-tsan");
  const options = [
    "-DKVFOLD_BUILD_TESTS=ON",
    "-DKVFOLD_SANITIZE=thread",
    "-DCMAKE_BUILD_TYPE=RelWithDebInfo",
  ];
  run("cmake", ["-S", root, "-B", folder, ...options, "--log-level=WARNING"]);
  run("cmake", ["--build", folder, "--parallel", jobs]);
  // the others run in one thread
  runTests(folder, { TSAN_OPTIONS: "halt_on_error=1" }, "-R", "^(pool|backends|rope|faults|fits|attend)$");
});

timed("CUDA kernels over the emulator, undefined", () => {
  const folder = join(root, "build-emulated");
  const options = [
    "-DKVFOLD_BUILD_TESTS=ON",
    "-DKVFOLD_SANITIZE=undefined",
    "-DCMAKE_BUILD_TYPE=RelWithDebInfo",
  ];
  if (process.platform !== "linux") return console.log("skipped: the emulator is for Linux");
  run("cmake", ["-S", root, "-B", folder, ...options, "--log-level=WARNING"]);
  run("cmake", ["--build", folder, "--parallel", jobs]);
  runTests(folder, { UBSAN_OPTIONS: "print_stacktrace=1" }, "-R", "emulated|loader|location|attend");
});

/** npx would start a shell, which does not bear the preloaded libraries. */
function vitest() {
  return join(dirname(fileURLToPath(import.meta.resolve("vitest/package.json"))), "vitest.mjs");
}
