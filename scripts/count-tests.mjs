// Adds up what vitest and ctest printed in a log, names what failed again, as logs are long, and closes with
// "N passed, N failed"; exit code 1 unless all passed.
import { readFileSync } from "node:fs";

const [file, failedSteps] = process.argv.slice(2);
// biome-ignore lint/suspicious/noControlCharactersInRegex: terminal colours are control characters
const text = readFileSync(file, "utf8").replace(/\u001b\[[0-9;]*m/g, "");
const sum = (pattern) => [...text.matchAll(pattern)].reduce((total, match) => total + Number(match[1]), 0);

// vitest: "Tests  1 failed | 12 passed (13)"; ctest: "100% tests passed, 0 tests failed out of 7"
const vitestLines = text.match(/\bTests\s+.*\(\d+\)/g) ?? [];
const vitest = (word) =>
  vitestLines.reduce((total, line) => total + Number(line.match(new RegExp(`(\\d+) ${word}`))?.[1] ?? 0), 0);
const ctestFailed = sum(/(\d+) tests? failed out of \d+/g);
const ctestAll = sum(/tests? failed out of (\d+)/g);

// vitest: " FAIL  |core| file > test", then the error; ctest: "  3 - faults (Failed)"; steps of the gate
const named = text
  .split("\n")
  .filter((line) =>
    /(^|: )\s*FAIL\s|(^|: )\s*\S*Error: |^\s*\d+ - \S+ \(|^::: .*: FAILED|Unhandled|\[kvfold\] /.test(line),
  );
const MOST_LINES = 60;
for (const line of new Set(failedSteps === "0" ? [] : named.slice(0, MOST_LINES))) console.log(line);

const passed = vitest("passed") + ctestAll - ctestFailed;
const failed = Math.max(vitest("failed") + ctestFailed, Number(failedSteps));
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
