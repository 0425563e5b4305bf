// Somebody's threads and somebody's wish to stop.
#ifndef KVFOLD_ATTENTION_PARALLEL_H
#define KVFOLD_ATTENTION_PARALLEL_H

#include <atomic>

#include "attention.h"

namespace kvfold {
namespace attention {

class Parallel {
 public:
  explicit Parallel(const kvfold_attention_options &options) : options_(options) {}

  uint32_t threads() const { return options_.workers == nullptr ? 1 : options_.workers->threads; }

  /// work(task, worker) for every task, unless stopped. Tasks must not depend on each other.
  template <typename Work>
  void for_each(size_t tasks, Work &&work) {
    if (threads() == 1 || tasks < 2) {
      for (size_t task = 0; task < tasks && !stop(); task++) work(task, 0u);
      return;
    }
    struct Call {
      Work *work;
      Parallel *parallel;
    } call = {&work, this};
    auto run = [](void *context, uint64_t task, uint32_t worker) {
      Call *call = static_cast<Call *>(context);
      if (!call->parallel->stop()) (*call->work)(static_cast<size_t>(task), worker);
    };
    options_.workers->run(options_.workers->self, tasks, run, &call);
  }

  /// Asks the caller; once true, always true.
  bool stop() {
    if (stopped()) return true;
    if (options_.cancelled == nullptr || options_.cancelled(options_.cancelled_data) == 0) return false;
    stopped_.store(true, std::memory_order_relaxed);
    return true;
  }
  bool stopped() const { return stopped_.load(std::memory_order_relaxed); }

 private:
  const kvfold_attention_options &options_;
  std::atomic<bool> stopped_{false};
};

}  // namespace attention
}  // namespace kvfold

#endif
