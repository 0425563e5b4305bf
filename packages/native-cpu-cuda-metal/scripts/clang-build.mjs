// The build that fuzz target and quick sanitizer run share: Clang, AddressSanitizer, UndefinedBehaviorSanitizer, counters
// of reached code for libFuzzer. Only the targets that are asked for are built.
import { spawnSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const compiler = process.env.KVFOLD_CLANG ?? "clang++";

export const clangFolder = join(root, "build-fuzz");

/** A program of one line tells whether this Clang can make fuzzers. */
function makesFuzzers() {
  const args = ["-x", "c++", "-fsanitize=fuzzer,address,undefined", "-o", "/dev/null", "-"];
  const input = 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char *, unsigned long) { return 0; }\n';
  return spawnSync(compiler, args, { input, stdio: ["pipe", "ignore", "ignore"] }).status === 0;
}

/** Builds targets; why that was not possible, or "". The compiler speaks for itself. */
export function buildWithClang(targets, jobs) {
  if (!makesFuzzers())
    return `${compiler} cannot link libFuzzer; install it (Debian 12: apt-get install clang libclang-rt-14-dev)`;
  const cache = [
    "-DKVFOLD_BUILD_FUZZERS=ON",
    "-DKVFOLD_BUILD_TESTS=ON",
    "-DKVFOLD_SANITIZE=address,undefined",
    "-DCMAKE_BUILD_TYPE=RelWithDebInfo",
    `-DCMAKE_CXX_COMPILER=${compiler}`,
  ];
  const chosen = targets.flatMap((target) => ["--target", target]);
  for (const args of [
    ["-S", root, "-B", clangFolder, ...cache, "--log-level=WARNING"],
    ["--build", clangFolder, "--parallel", jobs, ...chosen],
  ]) {
    const { status, error } = spawnSync("cmake", args, { cwd: root, stdio: ["ignore", "ignore", "inherit"] });
    if (error !== undefined) return `cmake cannot be started: ${error.message}`;
    if (status !== 0) return "the build with Clang failed";
  }
  return "";
}
