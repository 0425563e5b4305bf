// The process-wide thread pool: detached workers that sleep between jobs. It is never destroyed, so that neither
// process.exit() nor the end of a Node worker has to join a thread.
#include "cpu/pool.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace kvfold {
namespace cpu {
namespace {

struct Job {
  size_t tasks;
  void (*work)(void *, size_t, uint32_t);
  void *context;
  std::atomic<size_t> next{0};

  void run(uint32_t worker) {
    for (size_t task = next.fetch_add(1); task < tasks; task = next.fetch_add(1)) work(context, task, worker);
  }
};

class Pool {
 public:
  void run(uint32_t threads, Job *job) {
    std::lock_guard<std::mutex> one_job(job_mutex_);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      grow(threads - 1);
      job_ = job;
      round_++;
      joined_ = 0;
      wanted_ = threads - 1;
    }
    wake_.notify_all();
    job->run(0);
    std::unique_lock<std::mutex> lock(mutex_);
    job_ = nullptr;  // nobody joins any more
    idle_.wait(lock, [this] { return running_ == 0; });
  }

 private:
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
    std::unique_lock<std::mutex> lock(mutex_);
    uint64_t last_round = 0;  // a worker joins each job once
    for (;;) {
      wake_.wait(lock, [&] { return job_ != nullptr && joined_ < wanted_ && round_ != last_round; });
      Job *job = job_;
      last_round = round_;
      const uint32_t worker = ++joined_;
      running_++;
      lock.unlock();
      job->run(worker);
      lock.lock();
      if (--running_ == 0) idle_.notify_all();
    }
  }

  std::mutex job_mutex_;
  std::mutex mutex_;
  std::condition_variable wake_, idle_;
  Job *job_ = nullptr;
  uint64_t round_ = 0;
  uint32_t workers_ = 0, joined_ = 0, wanted_ = 0, running_ = 0;
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
