// The memory of one stream as the executor sees it (kvfold/memory.h).
#pragma once

#include <memory>
#include <vector>

#include "cache.h"
#include "kvfold/memory.h"
#include "napi.h"

namespace kvfold {

// Frequencies of every layer, as memoryOf and cacheTensors take them.
std::vector<std::vector<double>> frequencies_arg(const Napi::Value &value, const CacheInfo &cache);

// Owned by the External and by the context; the context clears `memory.alive` when it goes.
struct MemoryBlock {
  kvfold_memory memory{};
  std::vector<kvfold_memory_layer> layers;
  std::vector<std::vector<double>> frequencies;  // [layer]
};

}  // namespace kvfold
