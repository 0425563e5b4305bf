// What a kvfold_memory and a read request must look like before a pointer of theirs is used.
#include <algorithm>
#include <vector>

#include "checks/span_check.h"
#include "common/error.h"
#include "common/scratch.h"
#include "common/tensor.h"
#include "kvfold/backend.h"

namespace kvfold {
namespace {

struct Range {
  uintptr_t begin;
  uintptr_t end;
  uint32_t layer;
};

kvfold_status check_tensor(const kvfold_memory &memory, uint32_t index, uint32_t kind, std::vector<Range> *ranges,
                           kvfold_error *error) {
  const kvfold_memory_layer &layer = memory.layers[index];
  const char *name = kind == KVFOLD_KEYS ? "keys" : "values";
  const uint64_t bytes = kind == KVFOLD_KEYS ? layer.key_bytes : layer.value_bytes;
  const Tensor tensor = tensor_of(memory, index, kind);
  size_t needed = 0;
  if (!multiply(tensor.row_bytes, memory.capacity, &needed) || needed > PTRDIFF_MAX)
    return fail(error, KVFOLD_STATUS_PLAN_LIMIT, "layer %u: %s of %u cells do not fit the address space", index, name,
                memory.capacity);
  if (tensor.data == nullptr) return fail(error, KVFOLD_STATUS_ARGUMENT, "layer %u has no %s", index, name);
  if (bytes < needed)
    return fail(error, KVFOLD_STATUS_ARGUMENT, "layer %u: %s have %llu bytes, %u cells need %llu", index, name,
                static_cast<unsigned long long>(bytes), memory.capacity, static_cast<unsigned long long>(needed));
  const size_t alignment = tensor.type == KVFOLD_F32 ? 4 : 2;
  const auto address = reinterpret_cast<uintptr_t>(tensor.data);
  if (address % alignment != 0)
    return fail(error, KVFOLD_STATUS_ARGUMENT, "layer %u: %s do not start at a multiple of %zu bytes", index, name,
                alignment);
  if (address > UINTPTR_MAX - needed)
    return fail(error, KVFOLD_STATUS_ARGUMENT, "layer %u: %s end behind the address space", index, name);
  ranges->push_back({address, address + needed, index});
  return KVFOLD_OK;
}

/// Two buffers that share a byte would make undo and copies depend on their order.
kvfold_status check_overlap(std::vector<Range> *ranges, kvfold_error *error) {
  std::sort(ranges->begin(), ranges->end(), [](const Range &a, const Range &b) { return a.begin < b.begin; });
  for (size_t i = 1; i < ranges->size(); i++) {
    if ((*ranges)[i].begin < (*ranges)[i - 1].end)
      return fail(error, KVFOLD_STATUS_ARGUMENT, "buffers of the layers %u and %u overlap", (*ranges)[i - 1].layer,
                  (*ranges)[i].layer);
  }
  return KVFOLD_OK;
}

}  // namespace
}  // namespace kvfold

using namespace kvfold;

extern "C" kvfold_status kvfold_check_memory(const kvfold_memory *memory, kvfold_error *error) {
  if (memory == nullptr) return fail(error, KVFOLD_STATUS_ARGUMENT, "no memory given");
  if (memory->abi != KVFOLD_MEMORY_ABI || memory->struct_bytes != sizeof(kvfold_memory) ||
      memory->layer_bytes != sizeof(kvfold_memory_layer))
    return fail(error, KVFOLD_STATUS_UNSUPPORTED, "the memory was made for interface %u, this build speaks %u",
                memory->abi, KVFOLD_MEMORY_ABI);
  if (memory->alive == 0) return fail(error, KVFOLD_STATUS_DISPOSED, "the cache was already freed");
  if (memory->layer_count == 0 || memory->layer_count > KVFOLD_MAX_LAYERS || memory->layers == nullptr)
    return fail(error, KVFOLD_STATUS_ARGUMENT, "the cache has %u layers, allowed are 1 to %u", memory->layer_count,
                KVFOLD_MAX_LAYERS);
  if (memory->capacity == 0 || memory->capacity > KVFOLD_MAX_CELLS)
    return fail(error, KVFOLD_STATUS_ARGUMENT, "the cache has room for %u cells, allowed are 1 to %u",
                memory->capacity, KVFOLD_MAX_CELLS);
  try {
    std::vector<Range> ranges;
    for (uint32_t i = 0; i < memory->layer_count; i++) {
      if (kvfold_status status = kvfold_check_layer(&memory->layers[i], i, error)) return status;
      for (uint32_t kind : {KVFOLD_KEYS, KVFOLD_VALUES}) {
        if (kvfold_status status = check_tensor(*memory, i, kind, &ranges, error)) return status;
      }
    }
    return check_overlap(&ranges, error);
  } catch (...) {
    return fail_memory(error, "the check of the memory");
  }
}

extern "C" kvfold_status kvfold_check_options(const kvfold_options *options, kvfold_error *error) {
  if (options == nullptr || options->threads == 0 || options->threads > KVFOLD_MAX_THREADS)
    return fail(error, KVFOLD_STATUS_ARGUMENT, "threads must be 1 to %u", KVFOLD_MAX_THREADS);
  return KVFOLD_OK;
}

extern "C" kvfold_status kvfold_check_read(const kvfold_read *read, kvfold_error *error) {
  if (kvfold_status status = kvfold_check_memory(read->memory, error)) return status;
  const kvfold_memory &memory = *read->memory;
  if (read->layer >= memory.layer_count)
    return fail(error, KVFOLD_STATUS_ARGUMENT, "layer %u of %u does not exist", read->layer, memory.layer_count);
  if (read->kind > KVFOLD_VALUES)
    return fail(error, KVFOLD_STATUS_ARGUMENT, "kind %u is neither keys nor values", read->kind);
  if (read->unrotate != 0 && read->kind != KVFOLD_KEYS)
    return fail(error, KVFOLD_STATUS_ARGUMENT, "values carry no rotation to undo");
  const uint64_t cells = read->slots.length;
  if (is_missing(read->slots)) return fail_missing(error, "slots");
  if (is_missing(read->positions) || is_missing(read->sources)) return fail_missing(error, "positions or sources");
  if (cells > KVFOLD_MAX_CELLS)
    return fail(error, KVFOLD_STATUS_PLAN_LIMIT, "more than %u cells", KVFOLD_MAX_CELLS);
  for (uint64_t c = 0; c < cells; c++) {
    if (read->slots.data[c] >= memory.capacity)
      return fail(error, KVFOLD_STATUS_ARGUMENT, "slot %u of cell %llu lies outside the %u cells of the cache",
                  read->slots.data[c], static_cast<unsigned long long>(c), memory.capacity);
  }
  const uint64_t heads = memory.layers[read->layer].kv_heads;
  if (read->sources.length != 0 && read->sources.length != heads * cells)
    return fail(error, KVFOLD_STATUS_ARGUMENT, "sources has %llu entries, %llu heads of %llu cells are needed",
                static_cast<unsigned long long>(read->sources.length), static_cast<unsigned long long>(heads),
                static_cast<unsigned long long>(cells));
  if (read->unrotate != 0 && read->sources.length == 0 && read->positions.length != cells)
    return fail(error, KVFOLD_STATUS_ARGUMENT, "positions has %llu entries for %llu cells",
                static_cast<unsigned long long>(read->positions.length), static_cast<unsigned long long>(cells));
  return KVFOLD_OK;
}
