// Builds the native bridge: llama.cpp headers out of the bundle of node-llama-cpp, then cmake-js.
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const LLAMA_TAG = "v0.5.0";
const LLAMA_COMMIT = "de3ff815ea7d559ee917f063901b8986f038abc6";
const PACKAGE_VERSION = "3.22.1";

const packageFolder = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const require = createRequire(import.meta.url);

/** Ends the build with one line. */
function fail(message) {
  console.error(`[kvfold] [llama] ${message}`);
  process.exit(1);
}

function run(command, args, options = {}) {
  const result = spawnSync(command, args, { encoding: "utf8", ...options });
  if (result.error?.code === "ENOENT") {
    fail(
      `${command} is not installed; it is needed to build the native bridge (Debian: apt-get install git cmake g++)`,
    );
  }
  return result;
}

/** The folder of an installed package, found from its entry, as package.json is not exported. */
function folderOf(name) {
  try {
    let folder = dirname(require.resolve(name));
    while (!existsSync(join(folder, "package.json"))) folder = dirname(folder);
    return folder;
  } catch (error) {
    return fail(`${name} is not installed (${error.code ?? error.message}); run: npm ci`);
  }
}

function checkedFolder(name) {
  const folder = folderOf(name);
  const { version } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  if (version !== PACKAGE_VERSION) {
    fail(`${name} is ${version}, but this bridge is written for ${PACKAGE_VERSION}; run: npm ci`);
  }
  return folder;
}

/** Only headers leave the bundle; they are moved into place when complete, so a broken run leaves nothing behind. */
function extractHeaders() {
  // Beside `build`, because cmake-js empties that folder when it starts afresh after a failed build.
  const target = join(packageFolder, "build-headers");
  const stamp = join(target, "stamp");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === LLAMA_COMMIT) return target;
  const bundle = join(checkedFolder("node-llama-cpp"), "llama", "gitRelease.bundle");
  if (!existsSync(bundle)) fail(`the llama.cpp source bundle is missing: ${bundle}; run: npm ci`);
  const scratch = mkdtempSync(join(packageFolder, "build-scratch-"));
  const git = (...args) => {
    const result = run("git", args, {
      env: { ...process.env, GIT_CONFIG_NOSYSTEM: "1", GIT_TERMINAL_PROMPT: "0" },
    });
    if (result.status !== 0)
      fail(`git ${args[0]} failed on the llama.cpp bundle: ${result.stderr.trim().split("\n")[0]}`);
    return result.stdout.trim();
  };
  git("clone", "--quiet", "--no-checkout", bundle, scratch);
  const commit = git("-C", scratch, "rev-parse", "HEAD");
  if (commit !== LLAMA_COMMIT)
    fail(`the llama.cpp bundle is ${commit}, not ${LLAMA_TAG} (${LLAMA_COMMIT}); run: npm ci`);
  git("-C", scratch, "checkout", "--quiet", "HEAD", "--", "include", "ggml/include", "src/*.h", "LICENSE");
  rmSync(join(scratch, ".git"), { recursive: true, force: true });
  writeFileSync(join(scratch, "stamp"), commit);
  rmSync(target, { recursive: true, force: true });
  renameSync(scratch, target);
  return target;
}

function requireTools() {
  const compiler = process.env.CXX ?? "c++";
  if (run(compiler, ["--version"]).status !== 0)
    fail(`the C++ compiler "${compiler}" does not run; set CXX or install g++`);
  if (run("cmake", ["--version"]).status !== 0) fail("cmake does not run; install CMake 3.21 or later");
}

function build() {
  if (process.platform !== "linux" || process.arch !== "x64") {
    fail(`${process.platform}-${process.arch} is not supported yet: the live engine needs linux-x64`);
  }
  requireTools();
  const headers = extractHeaders();
  const libraries = join(checkedFolder("@node-llama-cpp/linux-x64"), "bins", "linux-x64");
  const cmakeJs = join(folderOf("cmake-js"), "bin", "cmake-js");
  const jobs = process.env.KVFOLD_NATIVE_JOBS ?? "2";
  if (!/^[1-9]\d{0,2}$/.test(jobs)) fail(`KVFOLD_NATIVE_JOBS is "${jobs}": must be a number from 1 to 999`);
  const args = [cmakeJs, "compile", "-d", packageFolder, "-p", jobs, `--CDKVFOLD_LLAMA_HEADERS=${headers}`];
  const executorHeaders = join(folderOf("@kvfold/native"), "native", "include");
  args.push(`--CDKVFOLD_LLAMA_LIBRARIES=${libraries}`, `--CDKVFOLD_NATIVE_HEADERS=${executorHeaders}`);
  args.push(...process.argv.slice(2));
  const result = spawnSync(process.execPath, args, { stdio: "inherit", cwd: packageFolder });
  if (result.status !== 0) fail("the native bridge did not build; the compiler output above says why");
}

build();
