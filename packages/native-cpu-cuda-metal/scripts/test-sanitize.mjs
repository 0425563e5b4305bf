// Builds the C++ tests with AddressSanitizer + UndefinedBehaviorSanitizer, then with ThreadSanitizer, and runs them.
import { spawnSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const jobs = process.env.KVFOLD_NATIVE_JOBS ?? "2";
const BUILDS = [
  { name: "asan", sanitizers: "address,undefined" },
  { name: "tsan", sanitizers: "thread" },
];

function run(command, args, env = {}) {
  const { status, error } = spawnSync(command, args, { stdio: "inherit", env: { ...process.env, ...env } });
  if (status === 0) return;
  console.error(`[kvfold] ${error === undefined ? `${command} ended with ${status}` : error.message}`);
  process.exit(1);
}

for (const { name, sanitizers } of BUILDS) {
  const started = Date.now();
  const folder = join(root, `build-${name}`);
  const options = [
    "-DKVFOLD_BUILD_TESTS=ON",
    `-DKVFOLD_SANITIZE=${sanitizers}`,
    "-DCMAKE_BUILD_TYPE=RelWithDebInfo",
  ];
  run("cmake", ["-S", root, "-B", folder, ...options, "--log-level=WARNING"]);
  run("cmake", ["--build", folder, "--parallel", jobs]);
  run("ctest", ["--test-dir", folder, "--output-on-failure"], {
    ASAN_OPTIONS: "detect_leaks=1:strict_string_checks=1",
    UBSAN_OPTIONS: "print_stacktrace=1",
    TSAN_OPTIONS: "halt_on_error=1",
  });
  console.log(`${sanitizers}: ${((Date.now() - started) / 1000).toFixed(0)} s`);
}
