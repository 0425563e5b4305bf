// The pool: every task once, worker numbers distinct at any moment, jobs of several callers at the same time, threads that
// have fallen asleep.
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <thread>
#include <vector>

#include "check.h"
#include "cpu/pool.h"

namespace {

constexpr uint32_t kMostThreads = 6;
/// Longer than anybody of the pool waits awake.
constexpr std::chrono::milliseconds kNap{2};

void run_jobs(uint32_t seed) {
  for (uint32_t job = 0; job < 200; job++) {
    const uint32_t threads = 1 + (job + seed) % kMostThreads;
    const size_t tasks = (job * 7 + seed) % 50;
    std::vector<std::atomic<int>> seen(tasks), busy(threads);
    std::atomic<bool> twice{false};
    if (job % 40 == 0) std::this_thread::sleep_for(kNap);
    kvfold::cpu::parallel_for(threads, tasks, [&](size_t task, uint32_t worker) {
      if (worker >= threads || busy[worker].fetch_add(1) != 0) twice = true;
      seen[task].fetch_add(1);
      if (job % 40 == 20 && task % 8 == 7) std::this_thread::sleep_for(kNap);
      busy[worker].fetch_sub(1);
    });
    bool once = true;
    for (const std::atomic<int> &count : seen) once = once && count.load() == 1;
    if (!once || twice) std::printf("job %u of caller %u went wrong\n", job, seed);
    if (!once || twice) std::exit(1);
  }
}

/// As short as jobs can be: threads join and leave all the time.
void run_short_jobs() {
  for (size_t job = 1; job <= 30000; job++) {
    std::atomic<size_t> sum{0};
    const size_t tasks = 2 + job % 3;
    kvfold::cpu::parallel_for(3, tasks, [&](size_t task, uint32_t) { sum += (task + 1) * job; });
    if (sum == job * tasks * (tasks + 1) / 2) continue;
    std::printf("short job %zu went wrong\n", job);
    std::exit(1);
  }
}

}  // namespace

int main() {
  run_jobs(0);
  run_short_jobs();
  std::vector<std::thread> callers;
  for (uint32_t seed = 1; seed <= 4; seed++) callers.emplace_back(run_jobs, seed);
  for (std::thread &caller : callers) caller.join();
  CHECK(callers.size() == 4);
  return check::verdict("pool");
}
