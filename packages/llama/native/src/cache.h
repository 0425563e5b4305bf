// The cache inside a llama.cpp context: which kind it is, where its tensors lie, which cells belong to whom.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "graph_probe.h"
#include "kvfold/memory.h"
#include "llama.h"

class llama_kv_cache;

namespace kvfold {

struct CacheLayer {
  int index = 0;  // in the model
  LayerFacts facts;
};

// Cells of one sequence, by ascending physical index.
struct CellMap {
  std::vector<uint32_t> slots;
  std::vector<int32_t> positions;
  uint32_t shared = 0;  // cells that another sequence holds as well
};

// What is known about the cache of a context. `problem` says why its cells cannot be folded, or is empty.
struct CacheInfo {
  llama_kv_cache *cache = nullptr;  // the part that is folded; null: none
  bool windowed_part = false;       // a second cache with the windowed layers lies beside it
  uint32_t streams = 0;
  uint32_t cells = 0;               // of a stream
  bool values_transposed = false;
  bool host_memory = true;           // the processor reaches all of it by address
  std::vector<std::string> devices;  // of every layer's keys
  std::vector<CacheLayer> layers;
  std::set<const ggml_tensor *> key_roots;
  std::vector<uint8_t> trailer;     // what follows the cell list in the state of this cache
  std::string problem;
};

// Finds the cache behind the memory of a context. Never null; see `problem`.
CacheInfo find_cache(llama_context *context);

// Completes the information. The sequence must hold at least one cell, and one evaluation was watched.
void describe_cache(CacheInfo &info, const GraphProbe &probe, llama_seq_id sequence);

// Physical stream of a sequence.
uint32_t stream_of(const CacheInfo &info, llama_seq_id sequence);

CellMap cell_map(const CacheInfo &info, llama_seq_id sequence);

// The map as the state writer tells it: an independent second opinion. Reads no keys and values.
CellMap recorded_cell_map(const CacheInfo &info, llama_seq_id sequence);

// The lowest `count` cells that the sequence owns alone or that are empty, ascending; fewer if there are not enough.
std::vector<uint32_t> lowest_cells(const CacheInfo &info, llama_seq_id sequence, uint32_t count);

// What llama.cpp attends over for this stream, in cells.
uint32_t attention_length(const CacheInfo &info, llama_seq_id sequence);

// Gives the sequence exactly these cells with these positions. Keys and values are not touched.
// On failure the sequence holds no cells at all: put the old map back with a second call.
// @returns read calls that llama.cpp made, the fault points of `fail_at` (-1: none)
int64_t commit_cells(const CacheInfo &info, llama_seq_id sequence, const std::vector<int32_t> &positions,
                     const std::vector<uint32_t> &destinations, int64_t fail_at);

// Puts a saved state of one sequence (the memory part of `llama_state_seq_get_data`) into exactly these cells.
// On failure the sequence holds no cells. @throws KVFOLD_STATE
void restore_cells(const CacheInfo &info, llama_seq_id sequence, const uint8_t *state, size_t size,
                   const std::vector<uint32_t> &destinations);

}  // namespace kvfold
