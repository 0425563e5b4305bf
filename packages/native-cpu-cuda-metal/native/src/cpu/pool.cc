// The process-wide thread pool: detached workers that sleep between jobs, though not at once: the next job often comes
// right after (a commit saves, then writes), and waking a server's threads takes as long as folding a megabyte or more.
// It is never destroyed, so that neither process.exit() nor the end of a Node worker has to join a thread.
#include "cpu/pool.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "kvfold/fold.h"

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace kvfold {
namespace cpu {
namespace {

using Clock = std::chrono::steady_clock;

/// How long a thread spins before it sleeps.
constexpr std::chrono::microseconds kSpin{50};

/// Tells the core that this thread only waits.
inline void pause() {
#if defined(__x86_64__) || defined(_M_X64)
  _mm_pause();
#elif defined(__aarch64__) && defined(__GNUC__)
  __asm__ volatile("yield");
#endif
}

/// Spins for kSpin at most; whether it was ready.
template <typename Ready>
bool spin_until(const Ready &ready) {
  const Clock::time_point end = Clock::now() + kSpin;
  do {
    for (int i = 0; i < 16; i++) {
      if (ready()) return true;
      pause();
    }
  } while (Clock::now() < end);
  return false;
}

struct Job {
  size_t tasks;
  void (*work)(void *, size_t, uint32_t);
  void *context;
  std::atomic<size_t> next{0};

  void run(uint32_t worker) {
    for (size_t task = next.fetch_add(1); task < tasks; task = next.fetch_add(1)) work(context, task, worker);
  }
};

/// Which round it is, how many workers may still join it, and how many work: one word, so that joining and leaving take
/// no lock.
struct State {
  static constexpr uint64_t kWorker = 1, kSeat = 1 << 16, kRound = uint64_t{1} << 32, kCount = 0xffff;
  uint64_t word;

  static_assert(KVFOLD_MAX_THREADS <= kCount, "a seat each");

  uint32_t working() const { return static_cast<uint32_t>(word & kCount); }
  uint32_t seats() const { return static_cast<uint32_t>(word >> 16 & kCount); }
  uint32_t round() const { return static_cast<uint32_t>(word >> 32); }
};

class Pool {
 public:
  void run(uint32_t threads, Job *job) {
    std::lock_guard<std::mutex> one_job(job_mutex_);
    const uint32_t seats = threads - 1;
    grow(seats);
    job_ = job;
    seats_ = seats;
    const State before = state();
    {
      std::lock_guard<std::mutex> lock(mutex_);  // nobody is between finding no job and falling asleep
      state_.store((before.word / State::kRound + 1) * State::kRound + seats * State::kSeat);
    }
    wake_.notify_all();
    job->run(0);
    state_.fetch_and(~(State::kCount * State::kSeat));  // nobody joins any more
    const auto done = [this] { return state().working() == 0; };
    if (spin_until(done)) return;
    std::unique_lock<std::mutex> lock(mutex_);
    idle_.wait(lock, done);
  }

 private:
  State state() const { return {state_.load(std::memory_order_acquire)}; }

  /// Fewer threads than asked for are no failure: the caller works as well.
  void grow(uint32_t workers) {
    while (workers_ < workers) {
      try {
        std::thread([this] { serve(); }).detach();
      } catch (...) {
        return;
      }
      workers_++;
    }
  }

  void serve() {
    uint32_t last_round = 0;  // a worker joins each job once
    const auto open = [&](State seen) { return seen.seats() > 0 && seen.round() != last_round; };
    const auto can_join = [&] { return open(state()); };
    for (;;) {
      if (!spin_until(can_join)) {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, can_join);
      }
      State seen = state();
      if (!open(seen)) continue;
      if (!state_.compare_exchange_strong(seen.word, seen.word - State::kSeat + State::kWorker)) continue;
      last_round = seen.round();
      job_->run(seats_ - seen.seats() + 1);
      leave();
    }
  }

  void leave() {
    const State before{state_.fetch_sub(State::kWorker)};
    if (before.working() > 1 || before.seats() > 0) return;  // then the caller does not wait, or not for this worker
    std::lock_guard<std::mutex> lock(mutex_);
    idle_.notify_all();
  }

  std::mutex job_mutex_;
  uint32_t workers_ = 0;  // of who holds job_mutex_
  std::mutex mutex_;
  std::condition_variable wake_, idle_;
  alignas(64) std::atomic<uint64_t> state_{0};  // many spin on it
  // Written while nobody works, read by those who have joined.
  alignas(64) Job *job_ = nullptr;
  uint32_t seats_ = 0;
};

Pool &pool() {
  static Pool *instance = new Pool();
  return *instance;
}

}  // namespace

void parallel(uint32_t threads, size_t tasks, void (*work)(void *, size_t, uint32_t), void *context) {
  if (threads <= 1 || tasks <= 1) {
    for (size_t task = 0; task < tasks; task++) work(context, task, 0);
    return;
  }
  Job job;
  job.tasks = tasks;
  job.work = work;
  job.context = context;
  pool().run(threads < tasks ? threads : static_cast<uint32_t>(tasks), &job);
}

}  // namespace cpu
}  // namespace kvfold
