#!/usr/bin/env bash
# Everything that wants a CUDA device, in one run under nine minutes on 16 cores: builds the backend, compares it with
# the double reference, looks for wrong memory accesses and races, runs the CPU tests for every instruction set of this
# processor, times the backend, and times folds on the processor. No Node, no network.
#
#   scripts/device-check.sh [build folder]
#
# Needs nvcc, CMake, a C++17 compiler and compute-sanitizer. KVFOLD_CHECK_CASES (2000), KVFOLD_CHECK_JOBS (all cores) and
# KVFOLD_CHECK_SECONDS (525, for all of it) change its size. Full results go to $OUT, or to the build folder; the last lines
# are a short table.
set -uo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
build=${1:-$root/build-device}
out=${OUT:-$build}
cases=${KVFOLD_CHECK_CASES:-2000}
jobs=${KVFOLD_CHECK_JOBS:-$(nproc)}
seconds=${KVFOLD_CHECK_SECONDS:-525}
mkdir -p "$build" "$out"
log=$out/device-check.log
: > "$log"
failures=0
summary=()

now() { date +%s; }
start=$(now)

# step TITLE SECONDS COMMAND...: runs it with a limit; the last line of its output goes into the table
step() {
  local title=$1 limit=$2 began code
  shift 2
  began=$(now)
  local left=$((start + seconds - began))
  if [ "$left" -lt 5 ]; then
    summary+=("skipped $title: no time left")
    failures=$((failures + 1))
    return 1
  fi
  [ "$left" -lt "$limit" ] && limit=$left
  echo "=== $title: $*" >> "$log"
  timeout "$limit" "$@" > "$out/step.txt" 2>&1
  code=$?
  cat "$out/step.txt" >> "$log"
  if [ "$code" -eq 0 ]; then
    summary+=("ok     $title, $(($(now) - began)) s: $(tail -n 1 "$out/step.txt" | sed "s|$root/||g")")
  else
    summary+=("FAILED $title ($code), $(($(now) - began)) s: $(grep -m 2 -E 'rror|failed|=====' "$out/step.txt" | tr '\n' ' ')")
    failures=$((failures + 1))
  fi
  return "$code"
}

finish() {
  rm -f "$out/step.txt"
  echo "=== device check of $(git -C "$root" rev-parse --short HEAD 2>/dev/null || echo 'an unknown version'), $(($(now) - start)) s"
  printf '%s\n' "${summary[@]}"
  [ -s "$out/cuda-bench.txt" ] && cat "$out/cuda-bench.txt"
  echo "$failures failed; log: $log"
  printf '%s\n' "${summary[@]}" > "$out/device-check.txt"
  [ "$failures" -eq 0 ] || exit 1
  exit 0
}

nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>&1 | tee -a "$log"
nvcc --version 2>&1 | tail -n 1 | tee -a "$log"
grep -m 1 -o 'avx512f' /proc/cpuinfo >> "$log" || echo "no AVX-512" >> "$log"

step "configure" 60 cmake -S "$root" -B "$build" -DCMAKE_BUILD_TYPE=Release -DKVFOLD_BUILD_TESTS=ON -DKVFOLD_CUDA=ON ||
  finish
step "build" 240 cmake --build "$build" -j "$jobs" || finish

tests=$build/native/tests
cuda=$(find "$build" -maxdepth 2 -name kvfold_cuda.so | head -n 1)

# Slices of the cases over processes, so that the host's share of the work runs side by side: test NAME COUNT. The first
# argument of a test is a number of cases, KVFOLD_TEST_SEED the first of them.
spread() {
  local name=$1 count=$2 parts=$3 i pids=() code=0
  local each=$(((count + parts - 1) / parts))
  for ((i = 0; i < parts; i++)); do
    KVFOLD_TEST_SEED=$((i * each)) "$tests/test_$name" "$each" > "$build/$name.$i.txt" 2>&1 &
    pids+=($!)
  done
  for i in "${pids[@]}"; do wait "$i" || code=1; done
  cat "$build/$name".*.txt | grep -v ': 0 failed' | grep -v '^[a-z ]*: [0-9]* checks' | sort -u | head -n 30
  cat "$build/$name".*.txt | awk '/checks/ { checks += $(NF - 3); failed += $(NF - 1) }
    END { printf "%d checks, %d failed\n", checks, failed }'
  rm -f "$build/$name".*.txt
  return "$code"
}
export -f spread
export tests build

parts=$((jobs < 8 ? jobs : 8))
export KVFOLD_CUDA_PATH=$cuda
step "backends, $cases cases" 120 bash -c "spread backends $cases $parts"
step "long folds, $((cases / 100)) cases" 60 bash -c "spread long_folds $((cases / 100)) $parts"
step "rope shifts, $((cases / 4)) cases" 60 bash -c "spread rope $((cases / 4)) $parts"
step "attend, $((cases / 10)) cases" 60 bash -c "spread attend $((cases / 10)) $parts"
step "fits, $((cases / 10)) cases" 90 bash -c "spread fits $((cases / 10)) $parts"
step "same bits as the CPU, $cases cases" 60 bash -c "spread same_bits $cases $parts"
step "faults" 60 "$tests/test_faults" 40
step "location" 30 "$tests/test_location"

# Times next, while nothing else runs.
if step "benchmark" 150 "$(find "$build" -name cuda_bench -type f | head -n 1)" --json "$out/cuda-bench.json"; then
  cp "$out/step.txt" "$out/cuda-bench.txt"
fi

if step "folds on the processor" 120 "$(find "$build" -name kvfold_bench_kernels -type f | head -n 1)" --op fold \
  --backend cpu --variant merge,evict,composite --cells 8192 --threads "$(nproc)" --runs 11; then
  cp "$out/step.txt" "$out/host-folds.txt"
fi

if command -v compute-sanitizer > /dev/null; then
  for tool in memcheck racecheck; do
    step "compute-sanitizer $tool, folds" 60 compute-sanitizer --tool "$tool" --error-exitcode 9 "$tests/test_backends" 6
    step "compute-sanitizer $tool, rope shifts" 60 compute-sanitizer --tool "$tool" --error-exitcode 9 "$tests/test_rope" 4
    step "compute-sanitizer $tool, fits" 80 compute-sanitizer --tool "$tool" --error-exitcode 9 "$tests/test_fits" 2
  done
else
  summary+=("absent compute-sanitizer")
fi

# The CPU tests, also for instruction sets that the machine of the developer may lack. The first two test every kernel
# that the processor has, and say in the log which it lacks.
unset KVFOLD_CUDA_PATH
step "CPU kernels" 60 "$tests/test_kernels"
step "kernels of attention and fits" 90 "$(find "$build" -name attention_tests -type f | head -n 1)"
step "CPU folds, $cases cases" 90 bash -c "spread backends $cases $parts"
for isa in avx512 avx2 scalar; do
  export KVFOLD_ISA=$isa
  step "CPU tests, KVFOLD_ISA=$isa" 90 ctest --test-dir "$build" -j "$jobs" -E 'cuda|scalar|loader'
done
unset KVFOLD_ISA
finish
