// Fuzzes the plan reader: replays the committed inputs, then makes new ones for a while, under AddressSanitizer and
// UndefinedBehaviorSanitizer. An input that fails is kept in build-fuzz/findings. Needs Clang with its libFuzzer.
//
//   node scripts/fuzz.mjs [--seconds 60] [--jobs 1] [--add]        --add: keep new inputs that reach new code
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildWithClang, clangFolder } from "./clang-build.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const corpus = join(root, "native", "fuzz", "corpus");
const findings = join(clangFolder, "findings");
const program = join(clangFolder, "native", "fuzz", "fuzz_plan");
const LONGEST_INPUT = 512;

function stop(message) {
  console.error(`[kvfold] ${message}`);
  process.exit(1);
}

function options() {
  const settings = { seconds: "60", jobs: process.env.KVFOLD_NATIVE_JOBS ?? "2", add: false };
  const words = process.argv.slice(2);
  while (words.length > 0) {
    const word = words.shift();
    if (word === "--add") settings.add = true;
    else if ((word === "--seconds" || word === "--jobs") && /^[1-9]\d{0,5}$/.test(words[0] ?? ""))
      settings[word.slice(2)] = words.shift();
    else stop(`unknown argument ${word}; known are --seconds n, --jobs n (of the build) and --add`);
  }
  return settings;
}

/** How many inputs ran before it ended, or stop. */
function fuzz(title, args) {
  const limits = [
    "-timeout=20",
    "-rss_limit_mb=2048",
    "-print_final_stats=1",
    `-artifact_prefix=${findings}/`,
  ];
  const { status, stderr } = spawnSync(program, [...limits, ...args], {
    encoding: "utf8",
    stdio: ["ignore", "ignore", "pipe"],
    maxBuffer: 2 ** 28,
    env: { ...process.env, ASAN_OPTIONS: "quarantine_size_mb=32", UBSAN_OPTIONS: "print_stacktrace=1" },
  });
  if (status !== 0) {
    process.stderr.write(stderr.split("\n").slice(-60).join("\n"));
    stop(`${title}: a finding; the input is in ${findings}`);
  }
  const inputs = /number_of_executed_units:\s*(\d+)/.exec(stderr)?.[1] ?? stop(`${title}: nothing ran`);
  console.log(`${title}: ${inputs} inputs, no finding`);
}

const { seconds, jobs, add } = options();
const built = buildWithClang(["fuzz_plan"], jobs);
if (built !== "") stop(built);
mkdirSync(findings, { recursive: true });
const kept = readdirSync(corpus).length;
fuzz(`replay of ${kept} kept inputs`, ["-runs=0", corpus]);
const fresh = mkdtempSync(join(tmpdir(), "kvfold-fuzz-"));
try {
  const time = `-max_total_time=${seconds}`;
  fuzz(`${seconds} s of new inputs`, [time, "-len_control=0", `-max_len=${LONGEST_INPUT}`, fresh, corpus]);
  // by edges alone, or there would be thousands
  if (add) fuzz("new inputs that reach new code", ["-merge=1", "-use_counters=0", corpus, fresh]);
} finally {
  rmSync(fresh, { recursive: true, force: true });
}
