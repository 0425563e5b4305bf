// The memory of one stream as the executor sees it (kvfold/memory.h).
#pragma once

#include <memory>
#include <vector>

#include "kvfold/memory.h"

namespace kvfold {

// Owned by the External and by the context; the context clears `memory.alive` when it goes.
struct MemoryBlock {
  kvfold_memory memory{};
  std::vector<kvfold_memory_layer> layers;
  std::vector<std::vector<double>> frequencies;  // [layer]
};

}  // namespace kvfold
