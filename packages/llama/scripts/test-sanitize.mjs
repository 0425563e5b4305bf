// The native bridge under AddressSanitizer and UndefinedBehaviorSanitizer: faults, refusals, lives of sequences, folds by
// a ggml device.
import { spawnSync } from "node:child_process";
import { dirname, isAbsolute, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const compiler = process.env.CXX ?? "g++";

function run(args, env = {}) {
  const options = { cwd: root, stdio: "inherit", env: { ...process.env, ...env } };
  const { status, error } = spawnSync(process.execPath, args, options);
  if (status === 0) return;
  console.error(
    `[kvfold] [llama] ${error === undefined ? `${args[0]} ended with ${status}` : error.message}`,
  );
  process.exit(1);
}

/** The sanitizers' libraries have to be in the process before Node is; without GCC they are elsewhere. */
function runtimes() {
  const paths = ["libasan.so", "libubsan.so"].map((name) =>
    (spawnSync(compiler, [`-print-file-name=${name}`], { encoding: "utf8" }).stdout ?? "").trim(),
  );
  if (paths.every((path) => isAbsolute(path))) return paths.join(" ");
  console.log("skipped: GCC's sanitizer libraries were not found");
  return process.exit(process.env.KVFOLD_REQUIRE_NATIVE === "1" ? 1 : 0);
}

const TESTS = [
  "faults",
  "refusals",
  "model-files",
  "sequences",
  "snapshots",
  "life",
  "bias",
  "queries",
  "fit",
  "repeat",
  "device",
].map((name) => `test/${name}`);

const preload = runtimes();
run([
  join(root, "scripts", "build-native.mjs"),
  "--out=build-sanitize",
  "--config=RelWithDebInfo",
  "--CDKVFOLD_SANITIZE=address,undefined",
]);
// npx would start a shell, which does not bear the preloaded libraries
const vitest = join(dirname(fileURLToPath(import.meta.resolve("vitest/package.json"))), "vitest.mjs");
run([vitest, "run", ...TESTS], {
  LD_PRELOAD: preload,
  ASAN_OPTIONS: "detect_leaks=0", // Node itself keeps what it allocates
  UBSAN_OPTIONS: "print_stacktrace=1:halt_on_error=1",
  KVFOLD_LLAMA_NATIVE_PATH: join(root, "build-sanitize", "RelWithDebInfo"),
});
