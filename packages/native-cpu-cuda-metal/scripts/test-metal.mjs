// Checks the Metal backend on a machine without Metal, in three ways: address spaces of the kernels (clang as C++ for
// OpenCL), then the unmodified kernels and the unmodified host side over a fake Metal (GNU Objective-C++). Says what is
// missing; with KVFOLD_REQUIRE_METAL_CHECKS=1 that is a failure.
//
//   node scripts/test-metal.mjs [--cases=2000] [--sanitize=address,undefined]
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const metal = join(root, "native", "metal");
const emulation = join(metal, "emulation");
const jobs = process.env.KVFOLD_NATIVE_JOBS ?? "2";
const required = process.env.KVFOLD_REQUIRE_METAL_CHECKS === "1";
let failed = false;

const argument = (name, fallback) =>
  process.argv.find((given) => given.startsWith(`--${name}=`))?.slice(name.length + 3) ?? fallback;
const cases = argument("cases", "2000");
const sanitize = argument("sanitize", "");

const run = (command, args, input) => spawnSync(command, args, { cwd: root, encoding: "utf8", input });

function fail(message, output = "") {
  console.error(`${output}[kvfold] ${message}`);
  failed = true;
}

/** Tells of a check that cannot run here. */
function skip(check, reason) {
  console.log(`skipped: ${check}: ${reason}`);
  if (required) fail(`${check} is required (KVFOLD_REQUIRE_METAL_CHECKS=1)`);
}

function timed(title, work) {
  const started = Date.now();
  work();
  console.log(`${title}: ${((Date.now() - started) / 1000).toFixed(0)} s`);
}

/** The kernels as one text, as the add-on compiles it; `#line` keeps the names of its parts. */
function kernelText() {
  const list = readFileSync(join(metal, "kernel_text.cmake"), "utf8");
  const parts = /KVFOLD_METAL_TEXT_PARTS ([^)]*)\)/.exec(list)[1].trim().split(/\s+/);
  return parts.map((name) => `#line 1 "${name}"\n${readFileSync(join(metal, name), "utf8")}`).join("");
}

/**
 * Generic address space off: a pointer into one address space cannot become one into another, as in Metal.
 * The errors of clang, or "".
 */
function addressSpaceErrors(text, file) {
  writeFileSync(file, text);
  const language = ["-x", "clcpp", "-cl-std=clc++2021", "-target", "spir64-unknown-unknown"];
  const extensions = "-__opencl_c_generic_address_space,-__opencl_c_device_enqueue,-__opencl_c_pipes";
  const { status, stderr } = run("clang++", [
    ...language,
    ...["-Xclang", "-finclude-default-header", "-Xclang", `-cl-ext=${extensions}`],
    ...["-D__METAL_VERSION__=240", "-Duint32_t=uint", "-Wno-unknown-attributes"],
    ...["-I", join(emulation, "opencl"), "-fsyntax-only", file],
  ]);
  return status === 0 ? "" : stderr || `clang++ ended with ${status}\n`;
}

function checkAddressSpaces() {
  const folder = mkdtempSync(join(tmpdir(), "kvfold-metal-"));
  const file = join(folder, "kernels.metal");
  try {
    const text = kernelText();
    const errors = addressSpaceErrors(text, file);
    if (errors !== "") fail("the kernels mix address spaces", errors);
    const planted = readdirSync(join(emulation, "planted"));
    for (const name of planted) {
      const content = readFileSync(join(emulation, "planted", name), "utf8");
      const found = addressSpaceErrors(`${text}#line 1 "planted/${name}"\n${content}`, file);
      if (!found.includes(`planted/${name}:`)) fail(`the planted error ${name} was not found`, found);
    }
    if (!failed) console.log(`kernels: no address space is mixed; ${planted.length} planted errors found`);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function build(folder) {
  const options = ["-S", emulation, "-B", folder, `-DKVFOLD_SANITIZE=${sanitize}`, "--log-level=WARNING"];
  for (const args of [options, ["--build", folder, "--parallel", jobs]]) {
    const { status, stdout, stderr } = run("cmake", args);
    if (status === 0) continue;
    fail("the emulation could not be built", `${stdout}${stderr}`);
    return false;
  }
  return true;
}

function runEmulation() {
  const folder = join(root, sanitize === "" ? "build-metal" : "build-metal-sanitize");
  if (!build(folder)) return;
  const { status, stdout } = run(join(folder, "test_backends"), [cases]);
  process.stdout.write(stdout);
  if (status !== 0) fail(`${cases} generated cases: test_backends ended with ${status}`);
  // the rest, with the numbers of cases that the tests have by themselves
  const rest = run("ctest", ["--test-dir", folder, "--output-on-failure", "-E", "metal_backends"]);
  process.stdout.write(rest.stdout);
  if (rest.status !== 0) fail("tests of the emulation failed");
}

const works = (command, ...args) => run(command, args).status === 0;
const hasObjectiveC = () =>
  run("g++", ["-x", "objective-c++", "-fsyntax-only", "-"], "#include <objc/objc.h>\n").status === 0;

timed("Metal: address spaces", () => {
  if (works("clang++", "--version")) checkAddressSpaces();
  else skip("address spaces of the Metal kernels", "clang is not installed (Debian: clang)");
});
timed("Metal: kernels and host side over a fake device", () => {
  if (!works("cmake", "--version")) skip("the Metal emulation", "CMake is not installed (Debian: cmake)");
  else if (hasObjectiveC()) runEmulation();
  else skip("the Metal emulation", "GNU Objective-C++ is not installed (Debian: gobjc++)");
});
process.exitCode = failed ? 1 : 0;
