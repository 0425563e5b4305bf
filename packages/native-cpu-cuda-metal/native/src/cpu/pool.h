// The process-wide thread pool.
#ifndef KVFOLD_CPU_POOL_H
#define KVFOLD_CPU_POOL_H

#include <cstddef>
#include <cstdint>

namespace kvfold {
namespace cpu {

/// Runs `work(context, task, worker)` for every task in [0, tasks). `worker` < threads is distinct among the calls that
/// run at the same time. The calling thread takes part; jobs of several callers run one after another.
void parallel(uint32_t threads, size_t tasks, void (*work)(void *context, size_t task, uint32_t worker),
              void *context);

/// The same with a callable.
template <typename Work>
void parallel_for(uint32_t threads, size_t tasks, Work &&work) {
  auto call = [](void *context, size_t task, uint32_t worker) { (*static_cast<Work *>(context))(task, worker); };
  parallel(threads, tasks, call, const_cast<void *>(static_cast<const void *>(&work)));
}

}  // namespace cpu
}  // namespace kvfold

#endif
